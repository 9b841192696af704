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
use posthaste_smtp::address::{DomainName, ReversePath, Utf8};
use posthaste_world::{BoxFuture, Dns, World};
use tokio::sync::oneshot;

use crate::config::Dmarc;

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
    /// What the configuration says.
    pub rules: Dmarc,
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
    /// Its forwarder or mailing list is known.
    pub is_exempt: bool,
    settings: Arc<Settings>,
    sender: Sender,
    now_s: u64,
}

/// A message that is being judged.
pub struct Judge {
    world: World,
    settings: Arc<Settings>,
    sender: Sender,
    now_s: u64,
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
            now_s,
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

    /// What was looked up while the message came.
    async fn looked_up(&mut self, late: &mut BoxFuture<'static, ()>) -> (Vec<spf::Checked>, Keys) {
        let spf = tokio::select! {
            biased;
            Ok(spf) = &mut self.spf => spf,
            () = &mut *late => late_spf(&self.sender),
        };
        let Some(keys) = &mut self.keys else {
            return (spf, Keys::default());
        };
        let keys = tokio::select! {
            biased;
            keys = keys => keys.unwrap_or_default(),
            () = late => Keys::default(),
        };
        (spf, keys)
    }

    /// The verdicts, after the end of the message; `facts` are all that its scan found.
    pub async fn judge(mut self, facts: &Facts) -> Judgement {
        self.verifier.end(facts);
        self.look_up_keys();
        let mut late = self.world.clock.sleep(PATIENCE);
        let (spf, keys) = self.looked_up(&mut late).await;
        let authors = self.verifier.authors().cloned().unwrap_or_default();
        let found = self.verifier.judge(&keys, Service::Email);
        let covering = found.dkim.iter().filter(|f| f.unsigned_octets == 0);
        let domains: Vec<&str> = covering.filter_map(dkim::Finding::authenticated).collect();
        let passed = spf
            .iter()
            .find(|c| c.identity == spf::Identity::MailFrom && c.verdict == Verdict::Pass);
        let undecided = undecided(&spf, &found.dkim);
        let proved = dmarc::Facts {
            spf: passed.map(|c| c.domain.as_str()),
            dkim: &domains,
            undecided: &undecided,
        };
        let dmarc = tokio::select! {
            biased;
            dmarc = dmarc::check(&*self.world.dns, &authors, &proved) => dmarc,
            () = &mut late => late_dmarc(&authors),
        };
        let rules = &self.settings.rules;
        let exempt = forwarder(self.sender.ip, rules)
            .or_else(|| list(&proved, &rules.exempt_domains))
            .or_else(|| trusted(&found.arc, &rules.trusted_sealers));
        let is_exempt = exempt.is_some();
        let decision = dmarc.decide(&Local {
            strictest: rules.policy,
            exempt,
        });
        Judgement {
            spf,
            dkim: found.dkim,
            arc: found.arc,
            dmarc,
            decision,
            is_exempt,
            settings: self.settings,
            sender: self.sender,
            now_s: self.now_s,
        }
    }
}

/// The domains that might have authenticated the message, had the DNS answered.
fn undecided<'a>(spf: &'a [spf::Checked], dkim: &'a [dkim::Finding]) -> Vec<&'a str> {
    let spf = spf
        .iter()
        .filter(|c| c.identity == spf::Identity::MailFrom && c.verdict == Verdict::Temperror)
        .map(|c| c.domain.as_str());
    let dkim = dkim.iter().filter(|f| f.verdict == Verdict::Temperror);
    spf.chain(dkim.map(|f| f.domain.as_str())).collect()
}

/// The exemption of a peer that is known to forward.
fn forwarder(ip: Option<IpAddr>, rules: &Dmarc) -> Option<Override> {
    let ip = ip.filter(|ip| rules.exempt_networks.contain(*ip))?;
    Some(Override {
        kind: OverrideKind::TrustedForwarder,
        comment: format!("{ip} is in exempt_networks"),
    })
}

/// The exemption of a mailing list, which is shown to be it.
fn list(proved: &dmarc::Facts<'_>, exempt: &[DomainName]) -> Option<Override> {
    let is_exempt = |domain: &&str| {
        let name = DomainName::parse(domain, Utf8::Refused);
        name.is_ok_and(|name| exempt.iter().any(|list| name.is_within(list)))
    };
    let domain = proved
        .spf
        .iter()
        .chain(proved.dkim)
        .copied()
        .find(is_exempt)?;
    Some(Override {
        kind: OverrideKind::MailingList,
        comment: format!("{domain}, which sent it, is in exempt_domains"),
    })
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
    let path = sender.path();
    let helo = async {
        match sender.helo.is_empty() {
            true => None,
            false => Some(spf::check_helo(dns, &client).await),
        }
    };
    let (helo, mail_from) = tokio::join!(helo, spf::check_mail_from(dns, &client, &path));
    helo.into_iter().chain([mail_from]).collect()
}

impl Sender {
    /// MAIL FROM without angle brackets; empty when it is null.
    fn path(&self) -> String {
        let mailbox = self.reverse_path.mailbox();
        mailbox.map(ToString::to_string).unwrap_or_default()
    }
}

impl Judgement {
    /// What is to be done with the message.
    #[must_use]
    pub fn disposition(&self) -> Policy {
        self.decision.disposition
    }

    /// Our name in Authentication-Results.
    #[must_use]
    pub fn authserv_id(&self) -> &str {
        &self.settings.authserv_id
    }

    /// How it was judged.
    #[must_use]
    pub fn rules(&self) -> &Dmarc {
        &self.settings.rules
    }

    /// Where it came from, when that is known.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.sender.ip
    }

    /// The verdict of SPF on MAIL FROM.
    #[must_use]
    pub fn mail_from(&self) -> Option<&spf::Checked> {
        let mut checked = self.spf.iter();
        checked.find(|c| c.identity == spf::Identity::MailFrom)
    }

    /// Whether the reverse-path is most likely somebody's who did not send this: its domain says
    /// that the peer may not send for it, and nothing else speaks for the message. Reports to it
    /// would reach a stranger.
    #[must_use]
    pub fn reverse_path_is_forged(&self) -> bool {
        let denied = self.mail_from().is_some_and(|c| c.verdict == Verdict::Fail);
        let spoken_for = matches!(self.dmarc.verdict, Verdict::Pass | Verdict::Temperror);
        denied && !spoken_for && !self.is_exempt
    }

    /// The Received-SPF field of MAIL FROM (RFC 7208 §9.1); none where the peer has no address.
    #[must_use]
    pub fn received_spf(&self) -> Option<String> {
        let client = spf::Client {
            ip: self.sender.ip?,
            helo: &self.sender.helo,
            receiver: self.authserv_id(),
            now_s: self.now_s,
        };
        Some(self.mail_from()?.received_spf(&client, &self.sender.path()))
    }

    /// The results for the next program and for people (RFC 8601).
    #[must_use]
    pub fn authentication_results(&self) -> AuthenticationResults {
        let mut results = AuthenticationResults::new(self.authserv_id());
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

#[cfg(test)]
mod tests {
    use posthaste_mailauth::arc::Sealer;

    use super::*;

    fn sealed(verdict: Verdict, by: &[(&str, &str)]) -> arc::Finding {
        let seal = |(instance, (domain, results)): (u32, &(&str, &str))| Sealer {
            instance,
            domain: (*domain).to_owned(),
            selector: "s".to_owned(),
            authentication_results: (*results).to_owned(),
        };
        arc::Finding {
            verdict,
            reason: "".into(),
            sealers: (1..).zip(by).map(seal).collect(),
            chain_length: u32::try_from(by.len()).unwrap(),
        }
    }

    #[test]
    fn a_chain_is_believed_when_it_holds_all_sealers_are_named_and_the_first_saw_a_pass() {
        let named = ["list.test".to_owned(), "school.test".to_owned()];
        let (pass, fail) = ("list.test; dmarc=pass", "list.test; dmarc=fail");
        let unclear = "list.test; dmarc=pass reason=";
        for (verdict, by, believed) in [
            (Verdict::Pass, &[("list.test", pass)][..], true),
            (
                Verdict::Pass,
                &[("list.test", pass), ("school.test", fail)],
                true,
            ),
            (Verdict::Fail, &[("list.test", pass)], false),
            (Verdict::Pass, &[("list.test", fail)], false),
            (Verdict::Pass, &[("list.test", unclear)], false),
            (
                Verdict::Pass,
                &[("list.test", fail), ("school.test", pass)],
                false,
            ),
            (
                Verdict::Pass,
                &[("evil.test", pass), ("school.test", pass)],
                false,
            ),
            (
                Verdict::Pass,
                &[("list.test", pass), ("evil.test", pass)],
                false,
            ),
            (Verdict::None, &[], false),
        ] {
            let found = trusted(&sealed(verdict, by), &named);
            assert_eq!(found.is_some(), believed, "{verdict:?} {by:?}");
        }
    }

    #[test]
    fn a_list_is_exempt_by_what_is_proved_and_only_within_its_name() {
        let exempt = [DomainName::parse("lists.test", Utf8::Refused).unwrap()];
        let by = |spf: Option<&str>, dkim: &[&str]| {
            let undecided = &["lists.test"][..];
            let proved = dmarc::Facts {
                spf,
                dkim,
                undecided,
            };
            list(&proved, &exempt).map(|o| o.kind)
        };
        let is_list = Some(OverrideKind::MailingList);
        assert_eq!(by(Some("lists.test"), &[]), is_list);
        assert_eq!(by(None, &["other.test", "a.lists.test"]), is_list);
        assert_eq!(by(Some("xlists.test"), &["test"]), None);
        assert_eq!(by(None, &[]), None);
    }
}
