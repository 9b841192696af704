//! Who sent it: SPF, DMARC, the From field, SRS, and reports about all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use posthaste_mailauth::dmarc::{Authors, DOMAINS_MAX, Record};
use posthaste_mailauth::report::aggregate::{self, ROWS_MAX};
use posthaste_mailauth::report::open::{self, Received};
use posthaste_mailauth::report::{self, TEXT_MAX};
use posthaste_mailauth::spf::{self, Client};
use posthaste_mailauth::srs::{Srs, without_batv};
use posthaste_smtp::address::{Domain, Mailbox, Utf8};
use posthaste_world::dns::{Answer, Data, Failure, Found, Kind, Security};
use posthaste_world::{BoxFuture, Dns};

use crate::choices::seeds;

/// A DNS that has the same text everywhere, and addresses at half of all names.
struct Everywhere<'a> {
    text: &'a [u8],
    asked: AtomicUsize,
}

impl Dns for Everywhere<'_> {
    fn query<'a>(
        &'a self,
        name: &'a str,
        kind: Kind,
    ) -> BoxFuture<'a, Result<Arc<Answer>, Failure>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let data = match kind {
            Kind::Txt => Some(Data::Txt(self.text.to_vec())),
            _ if name.len() % 2 == 0 => None,
            Kind::A => Some(Data::A(Ipv4Addr::new(192, 0, 2, 1))),
            Kind::Aaaa => Some(Data::Aaaa(Ipv6Addr::LOCALHOST)),
            Kind::Mx => Some(Data::Mx {
                preference: 1,
                exchange: "mx.example".to_owned(),
            }),
            Kind::Ptr => Some(Data::Ptr("a.example".to_owned())),
            Kind::Tlsa | Kind::Ns | Kind::Cname => None,
        };
        let answer = Answer {
            found: data.map_or(Found::NxDomain, |data| Found::Records(vec![data])),
            canonical: name.to_owned(),
            security: Security::Insecure,
            ttl: Duration::ZERO,
        };
        Box::pin(std::future::ready(Ok(Arc::new(answer))))
    }
}

/// Questions of one check: the records, ten terms of eleven, the names of the client.
const QUESTIONS_MAX: usize = 11 + 110 + 11 + 2;

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// Any text as an SPF record, and as the record of everyone it includes and explains with: the
/// check ends within its limits, and says why in printable ASCII.
pub fn spf_record(octets: &[u8]) {
    let Some(([six], text)) = seeds(octets) else {
        return;
    };
    if spf::record::is_record(text) {
        match spf::record::Record::parse(text) {
            Ok(record) => {
                let terms = record.directives.iter().map(ToString::to_string);
                let terms: Vec<String> = terms.filter(|t| !t.ends_with("...")).collect();
                let again = format!("v=spf1 {}", terms.join(" "));
                let again = spf::record::Record::parse(again.as_bytes()).expect("well-formed");
                assert_eq!(again.directives.len(), terms.len());
            }
            Err(malformed) => assert!(is_printable(&malformed.to_string())),
        }
    }
    let dns = Everywhere {
        text,
        asked: AtomicUsize::new(0),
    };
    let client = Client {
        ip: match six % 2 {
            0 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
        },
        helo: "h.e.l.o.example",
        receiver: "mx.example.org",
        now_s: 1,
    };
    let check = std::pin::pin!(spf::check_mail_from(&dns, &client, "lo-cal@d.example"));
    let Poll::Ready(checked) = check.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the answers are there at once");
    };
    assert!(dns.asked.load(Ordering::Relaxed) <= QUESTIONS_MAX);
    assert!(is_printable(&checked.reason) && !checked.reason.is_empty());
    assert!(checked.trace.iter().all(|line| is_printable(line)));
    assert!(
        checked
            .explanation
            .iter()
            .all(|said| is_printable(said) && said.len() <= 400)
    );
}

/// Any text as a DMARC record: its faults are printable, and nothing is asked for by a record that
/// has neither a policy nor anybody who wants reports.
pub fn dmarc_record(octets: &[u8]) {
    let Some(record) = Record::parse(octets) else {
        return;
    };
    assert!(record.faults.iter().all(|fault| is_printable(fault)));
    if record.policy.is_none() && record.aggregate.is_empty() {
        assert_eq!(record.policies(), None);
    }
    for uri in record.aggregate.iter().chain(&record.failure) {
        assert!(is_printable(&uri.to_string()));
    }
}

/// Any header block: an author is certain only where there is one domain and no fault.
pub fn from_header(octets: &[u8]) {
    let authors = Authors::of_header(octets);
    assert!(authors.domains.len() <= DOMAINS_MAX);
    assert!(
        authors
            .domains
            .iter()
            .all(|d| is_printable(d) && *d == d.to_ascii_lowercase())
    );
    let certain = authors.fault.is_none() && authors.domains.len() == 1 && !authors.more;
    assert_eq!(authors.domain().is_some(), certain);
    let _ = report::is_report(octets);
}

/// Any octets as a report, packed or not: what is read is bounded, and what is written of it reads
/// back.
pub fn aggregate_report(octets: &[u8]) {
    let Ok(plain) = open::unpack(octets.to_vec()) else {
        return;
    };
    assert!(plain.len() <= open::OCTETS_MAX);
    let Ok(Received::Aggregate(report)) = open::read(&plain) else {
        return;
    };
    assert!(report.rows.len() <= ROWS_MAX);
    assert!(report.id.len() <= TEXT_MAX && !report.id.contains(char::is_control));
    // What cannot be written, such as SPF of a HELO, is lost once and not again.
    let once = aggregate::read(report.to_xml().as_bytes()).expect("ours");
    let twice = aggregate::read(once.to_xml().as_bytes()).expect("ours");
    assert_eq!(once, twice);
}

/// Any message as one that carries a report.
pub fn arf(octets: &[u8]) {
    if let Ok(Received::Feedback(feedback)) = open::open(octets) {
        let texts = [&feedback.kind, &feedback.user_agent, &feedback.version];
        assert!(texts.iter().all(|text| text.len() <= TEXT_MAX));
        let original = feedback.original.unwrap_or_default();
        assert!(original.len() <= report::arf::ORIGINAL_MAX);
    }
}

/// Any text as a local part: nobody makes an address that leads somewhere, and what we rewrite
/// comes back.
pub fn srs(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let domain = Domain::parse("forwarder.example", Utf8::Refused).expect("a name");
    let srs = Srs::new(&[b"secret"], domain).expect("a secret");
    let _ = without_batv(text);
    if let Ok(recipient) = Mailbox::parse(&format!("{text}@forwarder.example"), Utf8::Allowed) {
        assert!(srs.reverse(&recipient, 0).is_err());
    }
    let Ok(sender) = Mailbox::parse(&format!("{text}@origin.example"), Utf8::Allowed) else {
        return;
    };
    if let Ok(rewritten) = srs.forward(&sender, 0) {
        let back = srs.reverse(&rewritten, 0).expect("ours");
        // What was rewritten before us goes back to whom it says rewrote it.
        let passed_on = back.local_part().as_str().starts_with("SRS0");
        assert!(back == sender || passed_on, "{sender} {rewritten} {back}");
    }
}
