//! check_host() (RFC 7208 §4), its limits and its explanation.
//!
//! Invariants: at most [`TERMS_MAX`] terms of one check ask the DNS, each at most eleven times; the
//! loops of `redirect` and `include` end because each step of them is such a term.

use std::net::IpAddr;

use posthaste_world::Dns;
use posthaste_world::dns::{Data, Failure, Kind};

use super::macros::{MacroString, Place, Values};
use super::record::{Directive, Mechanism, Prefixes, Record, is_record};
use super::{Client, Sender, printable};
use crate::{Verdict, name};

/// Terms that ask the DNS, in one check (RFC 7208 §4.6.4).
const TERMS_MAX: usize = 10;
/// Look-ups that find nothing, in one check (RFC 7208 §4.6.4).
const VOIDS_MAX: usize = 2;
/// Names that one `mx` or `ptr` may have (RFC 7208 §4.6.4).
const NAMES_MAX: usize = 10;
/// Lines of the trace, and characters of each.
const TRACE_MAX: usize = 200;
const LINE_MAX: usize = 400;
/// Characters of an explanation.
const EXPLANATION_MAX: usize = 400;

/// What check_host() came to.
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    /// Where the explanation is, expanded in the name of the domain whose record says so.
    pub(super) explanation: Option<Explanation>,
}

/// The `exp=` of a record, and whose record it is.
#[derive(Clone)]
pub(super) struct Explanation {
    text: MacroString,
    domain: String,
}

/// The names of the client's address.
#[derive(Clone, Default)]
struct Names {
    /// Those that lead back to it.
    validated: Vec<String>,
    /// There was no PTR record at all.
    void: bool,
}

/// Why an evaluation ends before its record does.
enum Broken {
    Temporary(String),
    Permanent(String),
}

/// One evaluation with its budgets.
pub(super) struct Check<'a> {
    dns: &'a dyn Dns,
    client: &'a Client<'a>,
    sender: &'a Sender,
    first: &'a str,
    ip: IpAddr,
    terms: usize,
    voids: usize,
    /// The names of the address, once somebody asked for them.
    names: Option<Names>,
    trace: Vec<String>,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        dns: &'a dyn Dns,
        client: &'a Client<'a>,
        sender: &'a Sender,
        first: &'a str,
    ) -> Check<'a> {
        Check {
            dns,
            client,
            sender,
            first,
            ip: client.ip.to_canonical(),
            terms: 0,
            voids: 0,
            names: None,
            trace: Vec::new(),
        }
    }

    /// Evaluates the record of the sender's domain.
    pub(super) async fn run(&mut self) -> Decision {
        let decision = self.host(self.first.to_owned()).await;
        decision.unwrap_or_else(|broken| {
            let (verdict, reason) = match broken {
                Broken::Temporary(reason) => (Verdict::Temperror, reason),
                Broken::Permanent(reason) => (Verdict::Permerror, reason),
            };
            Decision {
                verdict,
                reason: printable(&reason, LINE_MAX),
                explanation: None,
            }
        })
    }

    pub(super) fn into_trace(self) -> Vec<String> {
        self.trace
    }

    /// check_host() for `domain`, and for whom it is redirected to.
    async fn host(&mut self, mut domain: String) -> Result<Decision, Broken> {
        loop {
            let Some(record) = self.record(&domain).await? else {
                return Ok(Decision {
                    verdict: Verdict::None,
                    reason: format!("{domain} has no SPF record"),
                    explanation: None,
                });
            };
            for directive in &record.directives {
                if self.matches(directive, &domain).await? {
                    let explanation = record.explanation.map(|text| Explanation {
                        text,
                        domain: domain.clone(),
                    });
                    return Ok(Decision {
                        verdict: directive.verdict,
                        reason: format!("{directive} of {domain} matches {}", self.ip),
                        explanation,
                    });
                }
            }
            let Some(redirect) = &record.redirect else {
                return Ok(Decision {
                    verdict: Verdict::Neutral,
                    reason: format!("nothing in the record of {domain} matches {}", self.ip),
                    explanation: None,
                });
            };
            domain = self.redirect(redirect, &domain).await?;
        }
    }

    /// The name a `redirect` leads to; its record must be there (RFC 7208 §6.1).
    async fn redirect(&mut self, to: &MacroString, domain: &str) -> Result<String, Broken> {
        self.spend(&format!("redirect={to}"), domain)?;
        let target = self.expand(to, domain).await;
        let note = |what: &str| format!("{domain}: redirect={to} {what}");
        let target = target.ok_or_else(|| Broken::Permanent(note("leads to no domain name")))?;
        self.note(&note("is followed"));
        match self.record(&target).await? {
            Some(_) => Ok(target),
            None => Err(Broken::Permanent(note("leads to no SPF record"))),
        }
    }

    /// The record of `domain`, read (RFC 7208 §4.4, §4.5).
    async fn record(&mut self, domain: &str) -> Result<Option<Record>, Broken> {
        if !domain.contains('.') {
            return Ok(None);
        }
        let answer = match self.dns.query(domain, Kind::Txt).await {
            Ok(answer) => answer,
            Err(Failure::BadName(_)) => return Ok(None),
            Err(failure) => return Err(temporary(domain, "the SPF record", &failure)),
        };
        let mut records = answer.records().iter().filter_map(|data| match data {
            Data::Txt(text) if is_record(text) => Some(text),
            _ => None,
        });
        let (first, second) = (records.next(), records.next());
        if second.is_some() {
            let reason = format!("{domain} has more than one SPF record");
            return Err(Broken::Permanent(reason));
        }
        let Some(text) = first else { return Ok(None) };
        let read = Record::parse(text);
        read.map(Some).map_err(|malformed| {
            Broken::Permanent(format!("in the record of {domain}, {malformed}"))
        })
    }

    /// Counts a term that asks the DNS (RFC 7208 §4.6.4).
    fn spend(&mut self, term: &str, domain: &str) -> Result<(), Broken> {
        self.terms += 1;
        if self.terms <= TERMS_MAX {
            return Ok(());
        }
        let reason =
            format!("{term} of {domain} is one DNS look-up too many: {TERMS_MAX} are allowed");
        Err(Broken::Permanent(reason))
    }

    /// Counts a look-up that found nothing (RFC 7208 §4.6.4).
    fn spend_void(&mut self, name: &str) -> Result<(), Broken> {
        self.voids += 1;
        if self.voids <= VOIDS_MAX {
            return Ok(());
        }
        let reason =
            format!("{name} is one look-up without an answer too many: {VOIDS_MAX} are allowed");
        Err(Broken::Permanent(reason))
    }

    /// Whether a mechanism of the record of `domain` matches; notes it.
    async fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Broken> {
        let asks = !matches!(
            directive.mechanism,
            Mechanism::All | Mechanism::Ip4(..) | Mechanism::Ip6(..)
        );
        if asks {
            self.spend(&directive.to_string(), domain)?;
        }
        let matched = match &directive.mechanism {
            Mechanism::All => true,
            Mechanism::Ip4(network, length) => match self.ip {
                IpAddr::V4(ip) => same_v4(ip.to_bits(), network.to_bits(), *length),
                IpAddr::V6(_) => false,
            },
            Mechanism::Ip6(network, length) => match self.ip {
                IpAddr::V6(ip) => same_v6(ip.to_bits(), network.to_bits(), *length),
                IpAddr::V4(_) => false,
            },
            Mechanism::Include(of) => self.include(of, domain).await?,
            Mechanism::A(of, prefixes) => match self.target(of.as_ref(), domain).await {
                Some(target) => self.a(&target, *prefixes).await?,
                None => false,
            },
            Mechanism::Mx(of, prefixes) => match self.target(of.as_ref(), domain).await {
                Some(target) => self.mx(&target, *prefixes).await?,
                None => false,
            },
            Mechanism::Ptr(of) => match self.target(of.as_ref(), domain).await {
                Some(target) => self.ptr(&target).await?,
                None => false,
            },
            Mechanism::Exists(of) => match self.target(Some(of), domain).await {
                Some(target) => self.exists(&target).await?,
                None => false,
            },
        };
        let what = if matched { "matches" } else { "does not match" };
        self.note(&format!("{domain}: {directive} {what} {}", self.ip));
        Ok(matched)
    }

    /// The name a mechanism asks for; `None` when it stands for none, so that nothing matches
    /// (RFC 7208 §4.8).
    async fn target(&mut self, of: Option<&MacroString>, domain: &str) -> Option<String> {
        match of {
            None => Some(domain.to_owned()),
            Some(of) => self.expand(of, domain).await,
        }
    }

    /// `include` (RFC 7208 §5.2): a pass of the other matches, other results do not.
    async fn include(&mut self, of: &MacroString, domain: &str) -> Result<bool, Broken> {
        let Some(target) = self.expand(of, domain).await else {
            // A name that cannot be asked for has no record; but where a local part is not ASCII,
            // the term does not match (RFC 8616 §4).
            if (of.uses('l') || of.uses('s')) && !self.sender.local_part.is_ascii() {
                return Ok(false);
            }
            let reason = format!("include:{of} of {domain} leads to no domain name");
            return Err(Broken::Permanent(reason));
        };
        self.note(&format!("{domain}: include:{of} asks {target}"));
        let included = Box::pin(self.host(target)).await?;
        match included.verdict {
            Verdict::None => {
                let reason = format!("include:{of} of {domain}: {}", included.reason);
                Err(Broken::Permanent(reason))
            }
            verdict => Ok(verdict == Verdict::Pass),
        }
    }

    async fn a(&mut self, target: &str, prefixes: Prefixes) -> Result<bool, Broken> {
        let addresses = self.addresses(target).await?;
        Ok(addresses.iter().any(|&a| self.is_in(a, prefixes)))
    }

    async fn mx(&mut self, target: &str, prefixes: Prefixes) -> Result<bool, Broken> {
        let found = self.look_up(target, Kind::Mx).await?;
        if found.len() > NAMES_MAX {
            let reason = format!("{target} has more than {NAMES_MAX} mail exchangers");
            return Err(Broken::Permanent(reason));
        }
        let mut hosts: Vec<(u16, String)> = Vec::new();
        for data in found {
            match data {
                // A null MX names no host (RFC 7505).
                Data::Mx { exchange, .. } if exchange.is_empty() => {}
                Data::Mx {
                    preference,
                    exchange,
                } => hosts.push((preference, exchange)),
                _ => {}
            }
        }
        hosts.sort();
        for (_, host) in hosts {
            if self.a(&host, prefixes).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn ptr(&mut self, target: &str) -> Result<bool, Broken> {
        let names = self.names().await;
        if names.void {
            self.spend_void(&reverse_name(self.ip))?;
        }
        let mut names = names.validated.iter();
        Ok(names.any(|n| name::is_within(n, target)))
    }

    /// `exists` (RFC 7208 §5.7): an IPv4 address, whatever the client's is.
    async fn exists(&mut self, target: &str) -> Result<bool, Broken> {
        Ok(!self.look_up(target, Kind::A).await?.is_empty())
    }

    /// The addresses of a name, of the client's family.
    async fn addresses(&mut self, target: &str) -> Result<Vec<IpAddr>, Broken> {
        let found = self.look_up(target, self.kind()).await?;
        Ok(found.iter().filter_map(address).collect())
    }

    /// The records at a name; none is counted, and a failure ends the check (RFC 7208 §5).
    async fn look_up(&mut self, target: &str, kind: Kind) -> Result<Vec<Data>, Broken> {
        let found = match self.dns.query(target, kind).await {
            Ok(answer) => answer.records().to_vec(),
            Err(Failure::BadName(_)) => return Ok(Vec::new()),
            Err(failure) => return Err(temporary(target, "an address", &failure)),
        };
        if found.is_empty() {
            self.spend_void(target)?;
        }
        Ok(found)
    }

    /// The names of the client's address (RFC 7208 §5.5). Those beyond ten are not looked at; one
    /// that cannot be looked up is passed over, and counts for nothing, since the domain has no
    /// power over it.
    async fn names(&mut self) -> Names {
        if let Some(names) = &self.names {
            return names.clone();
        }
        let found = match self.dns.query(&reverse_name(self.ip), Kind::Ptr).await {
            Ok(answer) => Some(answer.records().to_vec()),
            Err(_) => None,
        };
        let mut names = Names {
            validated: Vec::new(),
            void: found.as_ref().is_some_and(Vec::is_empty),
        };
        for data in found.iter().flatten().take(NAMES_MAX) {
            let Data::Ptr(target) = data else { continue };
            let Some(target) = name::ascii(target) else {
                continue;
            };
            let Ok(answer) = self.dns.query(&target, self.kind()).await else {
                continue;
            };
            if answer
                .records()
                .iter()
                .filter_map(address)
                .any(|a| a == self.ip)
            {
                names.validated.push(target);
            }
        }
        self.note(&match names.validated.len() {
            0 => format!("{} has no name that leads back to it", self.ip),
            _ => format!("{} is {}", self.ip, names.validated.join(", ")),
        });
        self.names = Some(names.clone());
        names
    }

    /// The kind of address records that the client's address is compared with.
    fn kind(&self) -> Kind {
        match self.ip {
            IpAddr::V4(_) => Kind::A,
            IpAddr::V6(_) => Kind::Aaaa,
        }
    }

    fn is_in(&self, address: IpAddr, prefixes: Prefixes) -> bool {
        match (self.ip, address) {
            (IpAddr::V4(ip), IpAddr::V4(a)) => same_v4(ip.to_bits(), a.to_bits(), prefixes.v4),
            (IpAddr::V6(ip), IpAddr::V6(a)) => same_v6(ip.to_bits(), a.to_bits(), prefixes.v6),
            _ => false,
        }
    }

    fn note(&mut self, line: &str) {
        match self.trace.len() {
            TRACE_MAX.. => {}
            n if n + 1 == TRACE_MAX => self.trace.push("...".to_owned()),
            _ => self.trace.push(printable(line, LINE_MAX)),
        }
    }

    /// A domain-spec as a name that can be asked for.
    async fn expand(&mut self, spec: &MacroString, domain: &str) -> Option<String> {
        let values = self.values(spec, domain).await;
        name::ascii(&spec.expand_name(&values)?)
    }

    async fn values(&mut self, spec: &MacroString, domain: &str) -> Letters<'a> {
        let validated = match spec.uses('p') {
            true => self.names().await.validated,
            false => Vec::new(),
        };
        // Of several names the current domain is best, then one below it (RFC 7208 §7.3).
        let same = validated.iter().find(|n| *n == domain);
        let below = || validated.iter().find(|n| name::is_within(n, domain));
        let best = same.or_else(below).or(validated.first());
        Letters {
            client: self.client,
            sender: self.sender,
            ip: self.ip,
            domain: domain.to_owned(),
            validated: best.map_or_else(|| "unknown".to_owned(), String::clone),
        }
    }

    /// What the owner of the domain says of a `fail` (RFC 7208 §6.2): nothing, unless it is there
    /// once, is well-formed, and is ASCII.
    pub(super) async fn explain(&mut self, explanation: &Explanation) -> Option<String> {
        let Explanation { text, domain } = explanation;
        let target = self.expand(text, domain).await?;
        let answer = self.dns.query(&target, Kind::Txt).await.ok()?;
        let [Data::Txt(said)] = answer.records() else {
            return None;
        };
        let said = std::str::from_utf8(said).ok()?;
        let said = MacroString::parse(said, Place::Explanation).ok()?;
        let values = self.values(&said, domain).await;
        Some(printable(&said.expand_text(&values)?, EXPLANATION_MAX))
    }
}

fn temporary(domain: &str, what: &str, failure: &Failure) -> Broken {
    Broken::Temporary(format!(
        "{what} of {domain} could not be looked up: {failure}"
    ))
}

fn address(data: &Data) -> Option<IpAddr> {
    match data {
        Data::A(a) => Some(IpAddr::V4(*a)),
        Data::Aaaa(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

fn same_v4(a: u32, b: u32, length: u8) -> bool {
    (a ^ b).leading_zeros() >= length.into()
}

fn same_v6(a: u128, b: u128, length: u8) -> bool {
    (a ^ b).leading_zeros() >= length.into()
}

/// The name under which the PTR record of an address stands.
fn reverse_name(ip: IpAddr) -> String {
    let (parts, zone) = match ip {
        IpAddr::V4(_) => (dotted(ip), "in-addr.arpa"),
        IpAddr::V6(_) => (dotted(ip), "ip6.arpa"),
    };
    let reversed: Vec<&str> = parts.rsplit('.').collect();
    format!("{}.{zone}", reversed.join("."))
}

/// The value of the macro `i`: dotted, an IPv6 address by its nibbles (RFC 7208 §7.3).
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            let nibbles: Vec<String> = digits.chars().map(String::from).collect();
            nibbles.join(".")
        }
    }
}

/// The values of the macro letters (RFC 7208 §7.2).
struct Letters<'a> {
    client: &'a Client<'a>,
    sender: &'a Sender,
    ip: IpAddr,
    domain: String,
    validated: String,
}

impl Values for Letters<'_> {
    fn value(&self, letter: char) -> Option<String> {
        // Of the sender's own domain the case is kept, for people who read an explanation.
        let own = match self.sender.domain.is_ascii() {
            true => &self.sender.domain,
            false => self.sender.name.as_ref()?,
        };
        let value = match letter {
            's' => format!("{}@{own}", self.sender.local_part),
            'l' => self.sender.local_part.clone(),
            'o' => own.clone(),
            'd' if self.domain.eq_ignore_ascii_case(own) => own.clone(),
            'd' => self.domain.clone(),
            'i' => dotted(self.ip),
            'p' => self.validated.clone(),
            'v' => match self.ip {
                IpAddr::V4(_) => "in-addr".to_owned(),
                IpAddr::V6(_) => "ip6".to_owned(),
            },
            'h' => self.client.helo.to_owned(),
            'c' => self.ip.to_string(),
            'r' => self.client.receiver.to_owned(),
            _ => self.client.now_s.to_string(),
        };
        value.is_ascii().then_some(value)
    }
}
