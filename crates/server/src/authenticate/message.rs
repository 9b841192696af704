//! Stage 3, authenticate: who really sent this message? SPF, DKIM, ARC and DMARC together, while
//! it comes.
//!
//! A [`Judge`] begins with the envelope: SPF is looked up at once, as a task beside the session. It
//! is fed the message in the pieces in which that comes; when the header block has ended the keys
//! of its signatures are looked up, while the body still comes. At the end [`Judge::judge`] waits
//! for what is not there yet, no longer than [`PATIENCE`], and gives a [`Judgement`].
//!
//! Memory is the header block and a few hundred octets, whatever the size of the message. This
//! module does **not** act on a verdict: policy does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mailauth::authentication_results::{AuthenticationResults, Entry, Results};
use posthaste_mailauth::dkim::{Keys, Service};
use posthaste_mailauth::dmarc::{self, Authors, Decision, Local, Override, OverrideKind, Policy};
use posthaste_mailauth::{Verdict, Verifier, arc, dkim, spf};
use posthaste_message::header::Facts;
use posthaste_smtp::address::ReversePath;
use posthaste_world::{Dns, World};
use tokio::sync::oneshot;

/// How long all look-ups of a message may take together, after its end. RFC 7208 §4.6.4 asks for at
/// least 20 seconds for SPF; what is late is `temperror`.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What is said of look-ups that took too long.
const LATE: &str = "the DNS did not answer in time";

/// The envelope: what a verdict is about.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The peer's address; none when it is not known, and then SPF says `none`.
    pub ip: Option<IpAddr>,
    /// What it said in HELO or EHLO; may be empty.
    pub helo: String,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
}

/// How verdicts are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our name in Authentication-Results (RFC 8601 §2.5) and in explanations.
    pub authserv_id: String,
    /// The strictest thing that is done with mail that fails DMARC.
    pub strictest: Policy,
    /// Whose ARC seals are believed, in lower-case A-labels.
    pub trusted_sealers: Vec<String>,
}

/// What was found of a message.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// SPF of the name in HELO and of the reverse-path.
    pub spf: Vec<spf::Checked>,
    /// Each DKIM signature.
    pub dkim: Vec<dkim::Finding>,
    /// The ARC chain.
    pub arc: arc::Finding,
    /// DMARC.
    pub dmarc: dmarc::Checked,
    /// What DMARC and our settings say is to be done.
    pub decision: Decision,
    authserv_id: String,
}

/// A message that is being judged.
pub struct Judge {
    world: World,
    settings: Arc<Settings>,
    sender: Sender,
    verifier: Verifier,
    spf: oneshot::Receiver<Vec<spf::Checked>>,
    keys: Option<oneshot::Receiver<Keys>>,
}

impl Judge {
    /// Begins with the envelope; `now_s` is when the message came, in seconds since 1970.
    #[must_use]
    pub fn begin(world: &World, settings: &Arc<Settings>, sender: Sender, now_s: u64) -> Self {
        let (tell, spf) = oneshot::channel();
        let (dns, receiver) = (world.dns.clone(), settings.authserv_id.clone());
        let asking = sender.clone();
        let checking = async move {
            let checked = check_spf(&*dns, &asking, &receiver, now_s).await;
            // Whoever asked may have gone away.
            let _ = tell.send(checked);
        };
        world.work.spawn("spf", Box::pin(checking));
        Judge {
            world: world.clone(),
            settings: settings.clone(),
            sender,
            verifier: Verifier::new(now_s),
            spf,
            keys: None,
        }
    }

    /// Takes the next octets of the message; `facts` are those of a scan that has seen them.
    pub fn push(&mut self, octets: &[u8], facts: &Facts) {
        self.verifier.push(octets, facts);
        self.look_up_keys();
    }

    fn look_up_keys(&mut self) {
        let Some(names) = self.verifier.key_names().filter(|_| self.keys.is_none()) else {
            return;
        };
        let (tell, keys) = oneshot::channel();
        self.keys = Some(keys);
        let (dns, names) = (self.world.dns.clone(), names.to_vec());
        if names.is_empty() {
            let _ = tell.send(Keys::default());
            return;
        }
        let fetching = async move {
            let _ = tell.send(Keys::fetch(dns, names).await);
        };
        self.world.work.spawn("keys", Box::pin(fetching));
    }

    /// The verdicts, after the end of the message; `facts` are all that its scan found.
    pub async fn judge(mut self, facts: &Facts) -> Judgement {
        self.verifier.end(facts);
        self.look_up_keys();
        let mut late = self.world.clock.sleep(PATIENCE);
        let spf = tokio::select! {
            biased;
            Ok(spf) = self.spf => spf,
            () = &mut late => late_spf(&self.sender),
        };
        let keys = match self.keys {
            None => Keys::default(),
            Some(keys) => tokio::select! {
                biased;
                keys = keys => keys.unwrap_or_default(),
                () = &mut late => Keys::default(),
            },
        };
        let authors = self.verifier.authors().cloned().unwrap_or_default();
        let found = self.verifier.judge(&keys, Service::Email);
        let covering = found.dkim.iter().filter(|f| f.unsigned_octets == 0);
        let domains: Vec<&str> = covering.filter_map(dkim::Finding::authenticated).collect();
        let passed = spf
            .iter()
            .find(|c| c.identity == spf::Identity::MailFrom && c.verdict == Verdict::Pass);
        let proved = dmarc::Facts {
            spf: passed.map(|c| c.domain.as_str()),
            dkim: &domains,
        };
        let dmarc = tokio::select! {
            biased;
            dmarc = dmarc::check(&*self.world.dns, &authors, &proved) => dmarc,
            () = &mut late => late_dmarc(&authors),
        };
        let local = Local {
            strictest: self.settings.strictest,
            exempt: trusted(&found.arc, &self.settings.trusted_sealers),
        };
        let decision = dmarc.decide(&local);
        Judgement {
            spf,
            dkim: found.dkim,
            arc: found.arc,
            dmarc,
            decision,
            authserv_id: self.settings.authserv_id.clone(),
        }
    }
}

/// The exemption that an ARC chain gives whose newest sealer is trusted, and which passed DMARC
/// when it came to the first of them (RFC 9989 §5.4, RFC 8617 §7.2).
fn trusted(arc: &arc::Finding, sealers: &[String]) -> Option<Override> {
    let all_trusted = arc.verdict == Verdict::Pass
        && arc
            .sealers
            .iter()
            .all(|sealer| sealers.contains(&sealer.domain));
    let first = arc.sealers.first().filter(|_| all_trusted)?;
    let results = Results::parse(&first.authentication_results)?;
    let passed = results.of("dmarc").any(|r| r.verdict == Verdict::Pass);
    passed.then(|| Override {
        kind: OverrideKind::TrustedForwarder,
        comment: format!("arc=pass, sealed by {}, which saw dmarc=pass", first.domain),
    })
}

/// SPF that was not answered in time.
fn late_spf(sender: &Sender) -> Vec<spf::Checked> {
    let path = sender
        .reverse_path
        .mailbox()
        .map(|m| m.domain().to_string());
    let mail_from = path.unwrap_or_else(|| sender.helo.clone());
    let late = |identity, domain| spf::Checked {
        identity,
        domain,
        verdict: Verdict::Temperror,
        reason: LATE.to_owned(),
        explanation: None,
        trace: Vec::new(),
    };
    let helo = Some(&sender.helo).filter(|helo| !helo.is_empty());
    let helo = helo.map(|helo| late(spf::Identity::Helo, helo.clone()));
    let mail_from = late(spf::Identity::MailFrom, mail_from);
    helo.into_iter().chain([mail_from]).collect()
}

/// DMARC that was not answered in time.
fn late_dmarc(authors: &Authors) -> dmarc::Checked {
    dmarc::Checked {
        domain: authors.domains.first().cloned(),
        organizational_domain: None,
        policy_domain: None,
        verdict: Verdict::Temperror,
        policy: Policy::None,
        testing: false,
        spf_aligned: false,
        dkim_aligned: None,
        record: None,
        reason: LATE.to_owned(),
        trace: Vec::new(),
    }
}

async fn check_spf(
    dns: &dyn Dns,
    sender: &Sender,
    receiver: &str,
    now_s: u64,
) -> Vec<spf::Checked> {
    let Some(ip) = sender.ip else {
        return Vec::new();
    };
    let client = spf::Client {
        ip,
        helo: &sender.helo,
        receiver,
        now_s,
    };
    let mut checked = Vec::new();
    if !sender.helo.is_empty() {
        checked.push(spf::check_helo(dns, &client).await);
    }
    let path = match sender.reverse_path.mailbox() {
        Some(mailbox) => mailbox.to_string(),
        None => String::new(),
    };
    checked.push(spf::check_mail_from(dns, &client, &path).await);
    checked
}

impl Judgement {
    /// The results for the next program and for people (RFC 8601).
    #[must_use]
    pub fn authentication_results(&self) -> AuthenticationResults {
        let mut results = AuthenticationResults::new(&self.authserv_id);
        for checked in &self.spf {
            results.push(spf_entry(checked));
        }
        for finding in &self.dkim {
            results.push(finding.entry());
        }
        if let Some(entry) = self.arc.entry() {
            results.push(entry);
        }
        results.push(self.dmarc_entry());
        results
    }

    fn dmarc_entry(&self) -> Entry {
        let mut notes = Vec::new();
        if self.dmarc.verdict != Verdict::Pass {
            notes.push(self.dmarc.reason.clone());
        }
        if self.dmarc.policy_domain.is_some() {
            let (policy, done) = (self.dmarc.policy, self.decision.disposition);
            notes.push(format!("p={} dis={}", policy.word(), done.word()));
        }
        let entry = Entry::new("dmarc", self.dmarc.verdict).comment(notes.join(", "));
        match &self.dmarc.domain {
            Some(domain) => entry.property("header.from", domain.as_str()),
            None => entry,
        }
    }
}

fn spf_entry(checked: &spf::Checked) -> Entry {
    let property = match checked.identity {
        spf::Identity::Helo => "smtp.helo",
        spf::Identity::MailFrom => "smtp.mailfrom",
    };
    Entry::new("spf", checked.verdict)
        .comment(checked.reason.as_str())
        .property(property, checked.domain.as_str())
}
