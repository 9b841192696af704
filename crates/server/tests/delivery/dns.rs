//! `posthaste dns`: what is said of zones that are right, and of each thing that may be wrong with
//! them. What is printed for each stands in `dns/NAME.expected`; `UPDATE_GOLDEN=1` writes it anew.

#![allow(
    clippy::disallowed_methods,
    reason = "golden files are of this machine"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use posthaste::dns::authoritative::Authoritative;
use posthaste::dns::examine::{Finding, State, examine};
use posthaste::dns::plan::Plan;
use posthaste::dns::show;
use posthaste::sign::keys::{Entry, Keyring, SigningKey};
use posthaste::sign::stage::{Stage, Standing};
use posthaste_mailauth::dkim::PrivateKey;
use posthaste_world::dns::{Data, Kind};
use posthaste_world::{Dns, Timestamp};

use crate::doors::{Names, mailbox};

/// Keys that sign nothing anywhere.
const KEYS: [(&str, &str); 2] = [
    ("r", include_str!("dns/r.pem")),
    ("e", include_str!("dns/e.pem")),
];

fn key(selector: &str, pem: &str, stage: Stage) -> SigningKey {
    SigningKey {
        selector: selector.into(),
        made: Timestamp::from_secs(0),
        standing: Standing::new(stage, Timestamp::from_secs(0)),
        key: PrivateKey::from_pem(pem).unwrap(),
    }
}

fn keyring() -> Keyring {
    let mut ring = Keyring::default();
    for (selector, pem) in KEYS {
        ring.add("ours.test", key(selector, pem, Stage::Active));
    }
    ring
}

fn plan(keys: &Keyring) -> Plan<'_> {
    Plan {
        domain: "ours.test",
        hostname: "mx.ours.test",
        reports_to: mailbox("postmaster@ours.test"),
        keys,
        retired: Vec::new(),
        key_digest: Ok(vec![0xab; 32]),
        addresses: vec!["198.51.100.1".parse().unwrap()],
        id: 1_795_514_400,
    }
}

/// A zone in which all is right.
fn right() -> String {
    let mut zone = "\
mx ours.test 10 mx.ours.test
a mx.ours.test 198.51.100.1
ptr 1.100.51.198.in-addr.arpa mx.ours.test
txt ours.test v=spf1 mx -all
txt mx.ours.test v=spf1 a -all
txt _dmarc.ours.test v=DMARC1; p=quarantine; rua=mailto:postmaster@ours.test
txt _smtp._tls.ours.test v=TLSRPTv1; rua=mailto:postmaster@ours.test
txt _mta-sts.ours.test v=STSv1; id=20261126
a mta-sts.ours.test 198.51.100.2
tlsa _25._tcp.mx.ours.test 3 1 1 171
secure
"
    .to_owned();
    for (selector, pem) in KEYS {
        let record = PrivateKey::from_pem(pem).unwrap().public_record();
        zone += &format!("txt {selector}._domainkey.ours.test {record}\n");
    }
    zone
}

/// The zone with the lines that begin so replaced by others, one a line; with an empty beginning
/// the others are added.
fn with(changes: &[(&str, &str)]) -> String {
    let zone = right();
    let mut lines: Vec<String> = zone.lines().map(str::to_owned).collect();
    for (begin, other) in changes {
        let before = lines.len();
        lines.retain(|line| begin.is_empty() || !line.starts_with(begin));
        assert!(lines.len() < before || begin.is_empty(), "no line {begin}");
        lines.extend(other.lines().map(str::to_owned));
    }
    lines.join("\n")
}

/// The Ed25519 key, as its record has it.
fn public_key() -> String {
    let record = PrivateKey::from_pem(KEYS[1].1).unwrap().public_record();
    record.rsplit_once("p=").unwrap().1.to_owned()
}

async fn look(zone: &str, plan: &Plan<'_>) -> Vec<Finding> {
    let names = Names::table(zone);
    examine(&*names, &*names, plan).await
}

fn compare(name: &str, shown: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/delivery/dns");
    let file = folder.join(format!("{name}.expected"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "{name}");
}

/// A name, the changes to the zone that is right, and how the records are that are not.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

const CASES: &[Case<'_>] = &[
    ("right", &[], &[]),
    ("nothing", &[("", "")], &[]),
    (
        "mx_missing",
        &[("mx", "")],
        &[("ours.test MX", "missing"), ("ours.test TXT", "wrong")],
    ),
    (
        "mx_elsewhere",
        &[("mx", "mx ours.test 10 mx.other.test")],
        &[("ours.test MX", "wrong"), ("ours.test TXT", "wrong")],
    ),
    ("mx_several", &[("", "mx ours.test 5 mx.other.test")], &[]),
    (
        "mx_null",
        &[("mx", "mx ours.test 0 .")],
        &[("ours.test MX", "wrong"), ("ours.test TXT", "wrong")],
    ),
    (
        "host_missing",
        &[("a mx", "exists mx.ours.test")],
        &[
            ("mx.ours.test A", "missing"),
            ("ours.test TXT", "unknown"),
            ("mx.ours.test TXT", "unknown"),
        ],
    ),
    (
        "host_elsewhere",
        &[
            ("a mx", "a mx.ours.test 198.51.100.9"),
            ("ptr", "ptr 9.100.51.198.in-addr.arpa mx.ours.test"),
        ],
        &[("mx.ours.test A", "wrong")],
    ),
    (
        "host_alias",
        &[
            (
                "a mx",
                "cname mx.ours.test host.ours.test\na host.ours.test 198.51.100.1\n\
                 txt host.ours.test v=spf1 a -all",
            ),
            ("txt mx.ours.test", ""),
        ],
        &[("mx.ours.test A", "wrong")],
    ),
    (
        "ptr_missing",
        &[("ptr", "")],
        &[("1.100.51.198.in-addr.arpa PTR", "missing")],
    ),
    (
        "ptr_wrong",
        &[("ptr", "ptr 1.100.51.198.in-addr.arpa customer-1.isp.test")],
        &[("1.100.51.198.in-addr.arpa PTR", "wrong")],
    ),
    (
        "ptr_several",
        &[("", "ptr 1.100.51.198.in-addr.arpa www.ours.test")],
        &[],
    ),
    (
        "spf_missing",
        &[("txt ours.test", "")],
        &[("ours.test TXT", "missing")],
    ),
    (
        "spf_without_us",
        &[(
            "txt ours.test",
            "txt ours.test v=spf1 ip4:203.0.113.0/24 -all",
        )],
        &[("ours.test TXT", "wrong")],
    ),
    (
        "spf_twice",
        &[("", "txt ours.test v=spf1 a -all")],
        &[("ours.test TXT", "wrong")],
    ),
    (
        "spf_malformed",
        &[(
            "txt ours.test",
            "txt ours.test v=spf1 mx ip4:300.0.0.1 -all",
        )],
        &[("ours.test TXT", "wrong")],
    ),
    (
        "spf_for_everybody",
        &[("txt ours.test", "txt ours.test v=spf1 mx +all")],
        &[("ours.test TXT", "wrong")],
    ),
    (
        "spf_open_end",
        &[("txt ours.test", "txt ours.test v=spf1 mx ?all")],
        &[],
    ),
    (
        "spf_too_many_lookups",
        &[(
            "txt ours.test",
            "txt ours.test v=spf1 a:a1.test a:a1.test a:a1.test a:a1.test a:a1.test a:a1.test \
             a:a1.test a:a1.test a:a1.test a:a1.test mx -all\na a1.test 203.0.113.1",
        )],
        &[("ours.test TXT", "wrong")],
    ),
    (
        "dkim_alias",
        &[(
            "txt e.",
            "cname e._domainkey.ours.test e.keys.test\n\
             txt e.keys.test v=DKIM1; k=ed25519; p=E_KEY",
        )],
        &[],
    ),
    (
        "dkim_missing",
        &[("txt e.", "")],
        &[("e._domainkey.ours.test TXT", "missing")],
    ),
    (
        "dkim_of_another_key",
        &[(
            "txt e.",
            "txt e._domainkey.ours.test v=DKIM1; k=ed25519; \
             p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        )],
        &[("e._domainkey.ours.test TXT", "wrong")],
    ),
    (
        "dkim_revoked",
        &[(
            "txt e.",
            "txt e._domainkey.ours.test v=DKIM1; k=ed25519; p=",
        )],
        &[("e._domainkey.ours.test TXT", "wrong")],
    ),
    (
        "dkim_twice",
        &[("", "txt e._domainkey.ours.test v=DKIM1; p=x")],
        &[("e._domainkey.ours.test TXT", "wrong")],
    ),
    (
        "dkim_fails",
        &[("", "fails e._domainkey.ours.test")],
        &[("e._domainkey.ours.test TXT", "unknown")],
    ),
    (
        "dmarc_missing",
        &[("txt _dmarc", "")],
        &[("_dmarc.ours.test TXT", "missing")],
    ),
    (
        "dmarc_twice",
        &[("", "txt _dmarc.ours.test v=DMARC1; p=none")],
        &[("_dmarc.ours.test TXT", "wrong")],
    ),
    (
        "dmarc_none",
        &[("txt _dmarc", "txt _dmarc.ours.test v=DMARC1; p=none; t=y")],
        &[],
    ),
    (
        "dmarc_misspelt",
        &[("txt _dmarc", "txt _dmarc.ours.test v=DMARC1; p=quaratine")],
        &[("_dmarc.ours.test TXT", "wrong")],
    ),
    (
        "dmarc_reports_elsewhere",
        &[(
            "txt _dmarc",
            "txt _dmarc.ours.test v=DMARC1; p=reject; rua=mailto:d@reports.test",
        )],
        &[("_dmarc.ours.test TXT", "wrong")],
    ),
    (
        "dmarc_reports_elsewhere_wanted",
        &[(
            "txt _dmarc",
            "txt _dmarc.ours.test v=DMARC1; p=reject; rua=mailto:d@reports.test\n\
             txt ours.test._report._dmarc.reports.test v=DMARC1",
        )],
        &[],
    ),
    (
        "dmarc_alias",
        &[(
            "txt _dmarc",
            "cname _dmarc.ours.test policies.test\ntxt policies.test v=DMARC1; p=reject",
        )],
        &[],
    ),
    (
        "tls_reports_wrong",
        &[(
            "txt _smtp",
            "txt _smtp._tls.ours.test v=TLSRPTv1; rua=postmaster",
        )],
        &[("_smtp._tls.ours.test TXT", "wrong")],
    ),
    (
        "mta_sts_id_too_long",
        &[(
            "txt _mta",
            "txt _mta-sts.ours.test v=STSv1; id=123456789012345678901234567890123",
        )],
        &[("_mta-sts.ours.test TXT", "wrong")],
    ),
    (
        "mta_sts_without_host",
        &[("a mta-sts", "")],
        &[("_mta-sts.ours.test TXT", "wrong")],
    ),
    (
        "tlsa_of_another_key",
        &[("tlsa", "tlsa _25._tcp.mx.ours.test 3 1 1 1")],
        &[("_25._tcp.mx.ours.test TLSA", "wrong")],
    ),
    (
        "tlsa_without_dnssec",
        &[("secure", "")],
        &[("_25._tcp.mx.ours.test TLSA", "unknown")],
    ),
    (
        "optional_missing",
        &[("txt _smtp", ""), ("txt _mta", ""), ("tlsa", "")],
        &[
            ("_smtp._tls.ours.test TXT", "missing"),
            ("_mta-sts.ours.test TXT", "missing"),
            ("_25._tcp.mx.ours.test TLSA", "missing"),
        ],
    ),
    (
        "text_of_others",
        &[("ptr", "ptr 1.100.51.198.in-addr.arpa \u{1b}[31mred")],
        &[("1.100.51.198.in-addr.arpa PTR", "wrong")],
    ),
];

#[tokio::test(start_paused = true)]
async fn each_record_is_right_missing_wrong_or_unknown_and_says_how() {
    let ring = keyring();
    let mut unexpected = Vec::new();
    for (name, changes, expected) in CASES {
        let zone = match *name {
            "nothing" => String::new(),
            _ => with(changes).replace("E_KEY", &public_key()),
        };
        let findings = look(&zone, &plan(&ring)).await;
        compare(name, &show::table(&findings, &[]));
        if *name == "nothing" {
            assert!(findings.iter().all(|f| f.state != State::Right));
            continue;
        }
        let not_right = findings.iter().filter(|f| f.state != State::Right);
        let not_right: Vec<(String, &str)> = not_right
            .map(|f| {
                (
                    format!("{} {}", f.record.name, f.record.kind),
                    f.state.word(),
                )
            })
            .collect();
        let mut not_right: Vec<_> = not_right.iter().map(|(r, s)| (&**r, *s)).collect();
        let mut expected = expected.to_vec();
        not_right.sort_unstable();
        expected.sort_unstable();
        if not_right != expected {
            unexpected.push(format!("{name}: {not_right:?}"));
        }
    }
    assert_eq!(unexpected, [""; 0]);
}

/// An SPF record that is right may still be too long for some receivers.
#[tokio::test(start_paused = true)]
async fn a_long_record_is_told() {
    let networks: String = (0..40).map(|n| format!(" ip4:203.0.{n}.0/24")).collect();
    let long = format!("txt ours.test v=spf1{networks} mx -all");
    let ring = keyring();
    let findings = look(&with(&[("txt ours.test", &long)]), &plan(&ring)).await;
    compare("spf_too_long", &show::table(&findings, &[]));
}

#[tokio::test(start_paused = true)]
async fn records_are_shown_as_a_zone_file_and_as_objects() {
    let ring = keyring();
    let findings = look(&with(&[("txt e.", "")]), &plan(&ring)).await;
    compare("as_zone", &show::zone(&findings));
    compare("as_objects", &show::objects(&findings));
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_and_go_are_told_apart() {
    let mut ring = Keyring::default();
    let [(_, r), (_, e)] = KEYS;
    ring.add("ours.test", key("r", r, Stage::Retiring));
    ring.add("ours.test", key("e", e, Stage::Published { seen: None }));
    let mut plan = plan(&ring);
    plan.retired = vec![Entry {
        domain: "ours.test".into(),
        selector: "old".into(),
        made: Timestamp::from_secs(0),
        standing: Standing::new(Stage::Retired, Timestamp::from_secs(0)),
    }];
    let findings = look(&with(&[("txt e.", "")]), &plan).await;
    compare("keys_in_rotation", &show::table(&findings, &[]));
    let none = Keyring::default();
    plan.keys = &none;
    plan.retired.clear();
    plan.key_digest = Err("no listener for mx speaks TLS".into());
    plan.addresses.clear();
    let findings = look(&right(), &plan).await;
    compare("no_keys", &show::table(&findings, &[]));
}

/// What is there of one kind says nothing of the other.
#[tokio::test(start_paused = true)]
async fn an_address_that_could_not_be_looked_up_is_not_called_wrong() {
    let ring = keyring();
    let mut plan = plan(&ring);
    plan.addresses.push("2001:db8::1".parse().unwrap());
    let zone = with(&[("", "fails-aaaa mx.ours.test")]);
    let state = |findings: Vec<Finding>, kind: &str| {
        let of_host = |f: &&Finding| f.record.name == "mx.ours.test" && f.record.kind == kind;
        findings.iter().find(of_host).unwrap().state
    };
    assert_eq!(state(look(&zone, &plan).await, "AAAA"), State::Unknown);
    assert_eq!(state(look(&zone, &plan).await, "A"), State::Right);
    plan.addresses.clear();
    assert_eq!(state(look(&zone, &plan).await, "A"), State::Unknown);
}

/// Servers by their address, each with a table of its own.
fn servers(tables: &'static [(&'static str, &'static str)]) -> Authoritative {
    const DELEGATIONS: &str = "\
ns ours.test ns1.test\nns ours.test ns2.test\nns far.test ns3.test
a ns1.test 192.0.2.1\na ns2.test 192.0.2.2\na ns3.test 192.0.2.3
txt stale.ours.test an old copy";
    let reach = move |at: SocketAddr| -> Arc<dyn Dns> {
        let ip = at.ip().to_string();
        let table = tables.iter().find(|(of, _)| *of == ip);
        Names::table(table.map_or("silent", |(_, table)| table))
    };
    Authoritative::new(Names::table(DELEGATIONS), Box::new(reach))
}

async fn text(dns: &Authoritative, name: &str) -> String {
    match dns.query(name, Kind::Txt).await {
        Ok(answer) => match answer.records() {
            [Data::Txt(text)] => String::from_utf8(text.clone()).unwrap(),
            other => format!("{other:?}"),
        },
        Err(failure) => failure.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_that_are_responsible_are_asked_and_compared() {
    let dns = servers(&[
        (
            "192.0.2.1",
            "txt same.ours.test a\ntxt new.ours.test b\ntxt stale.ours.test new\n\
          cname alias.ours.test there.far.test",
        ),
        (
            "192.0.2.2",
            "txt same.ours.test a\ntxt stale.ours.test new\n\
          cname alias.ours.test there.far.test",
        ),
        ("192.0.2.3", "txt there.far.test c"),
    ]);
    assert_eq!(text(&dns, "same.ours.test").await, "a");
    assert_eq!(
        text(&dns, "stale.ours.test").await,
        "new",
        "no cache plays a part"
    );
    assert_eq!(
        text(&dns, "alias.ours.test").await,
        "c",
        "from its own zone"
    );
    assert_eq!(dns.notes(), [""; 0]);
    assert_eq!(text(&dns, "new.ours.test").await, "b");
    let notes = dns.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("disagree: ns1.test and ns2.test"),
        "{notes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_told_once_and_nothing_is_claimed_when_all_are_silent() {
    let dns = servers(&[("192.0.2.2", "txt a.ours.test a\ntxt b.ours.test b")]);
    assert_eq!(text(&dns, "a.ours.test").await, "a");
    assert_eq!(text(&dns, "b.ours.test").await, "b");
    let told = dns.notes();
    assert_eq!(
        told,
        ["the server ns1.test (192.0.2.1) of ours.test does not answer"]
    );
    let none = servers(&[]);
    assert_eq!(
        text(&none, "a.ours.test").await,
        "no DNS server answered in time"
    );
    let why = text(&none, "a.nowhere.test").await;
    assert!(why.contains("no zone above"), "{why}");
    let ring = keyring();
    let findings = examine(&none, &none, &plan(&ring)).await;
    assert!(
        findings.iter().all(|f| f.state != State::Right),
        "{findings:?}"
    );
    assert!(
        findings.iter().all(|f| f.state != State::Missing),
        "{findings:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn aliases_that_loop_end() {
    let dns = servers(&[
        (
            "192.0.2.1",
            "cname a.ours.test b.ours.test\ncname b.ours.test a.ours.test",
        ),
        (
            "192.0.2.2",
            "cname a.ours.test b.ours.test\ncname b.ours.test a.ours.test",
        ),
    ]);
    let why = text(&dns, "a.ours.test").await;
    assert!(why.contains("a chain of CNAMEs loops"), "{why}");
}
