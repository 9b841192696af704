//! Recipients and where they lead.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use posthaste::config::{Config, Deliver, Via};
use posthaste::lookup::{Directory, EXPANSIONS_MAX, Resolution, Way};
use posthaste_smtp::address::{ForwardPath, Mailbox, Utf8};

mod disk;

const TOP: &str = "\
hostname = \"mx.example.org\"
[[listener]]
address = [\"0.0.0.0:2525\", \"127.0.0.1:2526\"]
service = \"mx\"
tls = \"none\"
";

const POSTMASTER: &str = "postmaster = \"alice@example.org\"\n";

/// A directory of `domains`, with `aliases` in the file `aliases`.
fn directory(domains: &str, aliases: &str) -> Directory {
    Directory::new(&config(&format!("{POSTMASTER}{TOP}{domains}"), aliases))
}

fn config(text: &str, aliases: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("posthaste.toml"), text).unwrap();
    std::fs::write(folder.path().join("aliases"), aliases).unwrap();
    match Config::load(&folder.path().join("posthaste.toml"), &disk::Folders) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{}", posthaste::config::finding::report(&findings)),
    }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, Utf8::Allowed).unwrap()
}

/// What an address leads to, as text: addresses in order, or the kind of answer.
fn leads(directory: &Directory, address: &str) -> String {
    let path = match address {
        "postmaster" => ForwardPath::Postmaster,
        address => ForwardPath::Mailbox(mailbox(address)),
    };
    match directory.resolve(&path) {
        Resolution::Local(finals) => {
            let hold = |hold| if hold { " (held)" } else { "" };
            let all: Vec<String> = finals
                .iter()
                .map(|f| format!("{}{}", f.address, hold(f.hold)))
                .collect();
            all.join(", ")
        }
        Resolution::NotOurs(_) => "not ours".into(),
        Resolution::Unknown => "unknown".into(),
        Resolution::Broken(why) => format!("broken: {why}"),
    }
}

const ONE: &str = "\
[[domain]]
name = \"example.org\"
mailboxes = [\"alice\", \"Bob\", \"mary-jane\"]
aliases = \"aliases\"
subaddress = \"+\"
";

#[test]
fn mailboxes_compare_without_case() {
    let d = directory(ONE, "");
    assert_eq!(leads(&d, "ALICE@Example.ORG"), "alice@example.org");
    assert_eq!(leads(&d, "bob@example.org"), "bob@example.org");
    assert_eq!(leads(&d, "\"alice\"@example.org"), "alice@example.org");
    assert_eq!(leads(&d, "carol@example.org"), "unknown");
    assert_eq!(leads(&d, "alice@sub.example.org"), "not ours");
    assert_eq!(leads(&d, "alice@[192.0.2.1]"), "not ours");
}

#[test]
fn a_detail_leads_to_its_mailbox_and_is_kept() {
    let d = directory(ONE, "");
    assert_eq!(
        leads(&d, "Alice+Shop@example.org"),
        "alice+Shop@example.org"
    );
    assert_eq!(leads(&d, "alice+a+b@example.org"), "alice+a+b@example.org");
    assert_eq!(leads(&d, "+alice@example.org"), "unknown");
    let to = mailbox("alice+Shop@example.org");
    let Way::Domain { mailbox, .. } = d.route_for(&to) else {
        panic!()
    };
    assert_eq!(mailbox, "alice");
}

#[test]
fn a_tag_against_false_bounces_is_not_part_of_the_name() {
    let d = directory(ONE, "team: bob\n");
    for (tagged, expected) in [
        ("prvs=43932d3a3f=alice@example.org", "alice@example.org"),
        ("prvs=alice/43932d3a3f@example.org", "alice@example.org"),
        (
            "PRVS=43932D3A3F=Alice+shop@example.org",
            "alice+shop@example.org",
        ),
        ("prvs=43932d3a3f=team@example.org", "bob@example.org"),
        ("prvs=43932d3a3f=carol@example.org", "unknown"),
        ("prvs=4393=alice@example.org", "unknown"),
    ] {
        assert_eq!(leads(&d, tagged), expected, "{tagged}");
    }
}

#[test]
fn aliases_expand_to_local_and_remote_addresses_each_once() {
    let d = directory(
        ONE,
        "# staff\nteam: alice, bob,\n  alice@example.org, \"odd name\"@example.net\n\
         all: team, BOB, x@example.net,\n",
    );
    assert_eq!(
        leads(&d, "team@example.org"),
        "alice@example.org, bob@example.org, \"odd name\"@example.net"
    );
    assert_eq!(
        leads(&d, "All+x@example.org"),
        "alice@example.org, bob@example.org, \"odd name\"@example.net, x@example.net"
    );
}

#[test]
fn the_alias_that_was_addressed_is_kept() {
    let d = directory(ONE, "team: alice\n");
    let Resolution::Local(finals) = d.resolve(&ForwardPath::Mailbox(mailbox("Team@example.org")))
    else {
        panic!()
    };
    assert_eq!(finals[0].alias, Some(mailbox("Team@example.org")));
    let Resolution::Local(finals) = d.resolve(&ForwardPath::Mailbox(mailbox("alice@example.org")))
    else {
        panic!()
    };
    assert_eq!(finals[0].alias, None);
}

#[test]
fn an_alias_that_names_itself_means_the_mailbox() {
    let d = directory(ONE, "alice: alice, copy@example.net\nbob: \\bob, alice\n");
    assert_eq!(
        leads(&d, "alice@example.org"),
        "alice@example.org, copy@example.net"
    );
    assert_eq!(
        leads(&d, "bob@example.org"),
        "bob@example.org, alice@example.org, copy@example.net"
    );
}

#[test]
fn an_expansion_has_an_end() {
    let list = |n: usize| -> String {
        let targets: Vec<String> = (0..n).map(|i| format!("u{i}@example.net")).collect();
        targets.join(", ")
    };
    let d = directory(ONE, &format!("list: {}\n", list(EXPANSIONS_MAX - 1)));
    assert_eq!(
        leads(&d, "list@example.org").matches(", ").count(),
        EXPANSIONS_MAX - 2
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posthaste.toml");
    std::fs::write(&path, format!("{POSTMASTER}{TOP}{ONE}")).unwrap();
    let deep: String = (0..60).map(|i| format!("a{i}: a{}\n", i + 1)).collect();
    for aliases in [
        format!("list: {}\n", list(EXPANSIONS_MAX)),
        format!("{deep}a60: alice\n"),
    ] {
        std::fs::write(folder.path().join("aliases"), aliases).unwrap();
        let findings = Config::load(Path::new(&path), &disk::Folders).unwrap_err();
        assert!(
            findings[0].cause.contains("leads nowhere"),
            "{}",
            findings[0]
        );
    }
}

#[test]
fn the_postmaster_is_always_accepted() {
    let d = directory(ONE, "");
    for address in [
        "postmaster",
        "POSTMASTER@example.org",
        "postmaster@mx.example.org",
    ] {
        assert_eq!(leads(&d, address), "alice@example.org", "{address}");
    }
    assert_eq!(leads(&d, "postmaster@[127.0.0.1]"), "alice@example.org");
    assert_eq!(leads(&d, "alice@[127.0.0.1]"), "unknown");
    assert_eq!(leads(&d, "alice@mx.example.org"), "unknown");
    assert_eq!(leads(&d, "postmaster@example.net"), "not ours");
    let own = directory(ONE, "postmaster: bob\n");
    assert_eq!(leads(&own, "postmaster@example.org"), "bob@example.org");
}

#[test]
fn without_a_postmaster_its_mail_is_held_until_there_is_one() {
    let without = Directory::new(&config(&format!("{TOP}{ONE}"), ""));
    for address in [
        "postmaster",
        "postmaster@example.org",
        "postmaster@mx.example.org",
    ] {
        assert_eq!(
            leads(&without, address),
            "postmaster@mx.example.org (held)",
            "{address}"
        );
    }
    let held = mailbox("postmaster@mx.example.org");
    assert!(matches!(without.route_for(&held), Way::Held));
    let with = directory(ONE, "");
    assert!(matches!(
        with.route_for(&held),
        Way::Domain {
            mailbox: "alice",
            ..
        }
    ));
    assert_eq!(with.destination(&held), "maildir:example.org");
}

#[test]
fn a_catch_all_gets_what_nobody_else_gets() {
    let d = directory(
        "[[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n\
         catch_all = \"sink@example.net\"\n",
        "",
    );
    assert_eq!(leads(&d, "alice@example.org"), "alice@example.org");
    assert_eq!(leads(&d, "anybody@example.org"), "sink@example.net");
    assert_eq!(leads(&d, "postmaster@example.org"), "alice@example.org");
}

#[test]
fn international_domains_are_one_with_their_a_labels() {
    let d = directory(
        "[[domain]]\nname = \"Bücher.example\"\nmailboxes = [\"alice\", \"Ärger\"]\n\
         [[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n",
        "",
    );
    assert_eq!(
        leads(&d, "alice@xn--bcher-kva.example"),
        "alice@xn--bcher-kva.example"
    );
    assert_eq!(
        leads(&d, "alice@BÜCHER.example"),
        "alice@xn--bcher-kva.example"
    );
    assert_eq!(
        leads(&d, "ÄRGER@bücher.example"),
        "ärger@xn--bcher-kva.example"
    );
}

#[test]
fn the_next_server_decides_where_all_mailboxes_exist() {
    let d = directory(
        "[[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n\
         [[domain]]\nname = \"example.net\"\ndeliver = \"lmtp://127.0.0.1\"\n\
         mailboxes = \"*\"\naliases = \"aliases\"\n",
        "sales: Bob+x\n",
    );
    assert_eq!(
        leads(&d, "Any.Body+x@example.net"),
        "Any.Body+x@example.net"
    );
    assert_eq!(leads(&d, "sales@example.net"), "Bob+x@example.net");
    assert_eq!(leads(&d, "postmaster@example.net"), "alice@example.org");
    let to = mailbox("Any.Body@example.net");
    let Way::Domain { domain, mailbox } = d.route_for(&to) else {
        panic!()
    };
    assert!(matches!(domain.deliver, Deliver::Lmtp(_)));
    assert_eq!(mailbox, "Any.Body");
    assert_eq!(d.destination(&to), "lmtp:127.0.0.1:24");
}

const ROUTES: &str = "\
[[route]]
recipients = [\"*.corp.example\", \"bücher.example\"]
via = [\"smtp://10.0.0.1\", \"smtp://Relay.Example:2525\"]
[[route]]
recipients = [\"direct.example\"]
via = \"mx\"
[[route]]
recipients = [\"*\"]
via = \"discard:\"
";

#[test]
fn the_first_route_that_matches_is_used() {
    let d = directory(&format!("{ONE}{ROUTES}"), "");
    let key = |address| d.destination(&mailbox(address));
    assert_eq!(
        key("x@A.corp.Example"),
        "smtp:10.0.0.1:25,relay.example:2525"
    );
    assert_eq!(
        key("x@xn--bcher-kva.example"),
        "smtp:10.0.0.1:25,relay.example:2525"
    );
    assert_eq!(
        key("x@Bücher.example"),
        "smtp:10.0.0.1:25,relay.example:2525"
    );
    assert_eq!(key("x@corp.example"), "discard:");
    assert_eq!(key("x@Direct.example"), "direct.example");
    assert_eq!(key("x@[192.0.2.1]"), "discard:");
    let to = mailbox("x@a.corp.example");
    let Way::Route(route) = d.route_for(&to) else {
        panic!()
    };
    assert!(matches!(&route.via, Via::Smtp(servers) if servers.len() == 2));
}

#[test]
fn our_domains_beat_every_route() {
    let d = directory(&format!("{ONE}{ROUTES}"), "");
    assert_eq!(
        d.destination(&mailbox("alice@EXAMPLE.org")),
        "maildir:example.org"
    );
    let gone = mailbox("gone@example.org");
    assert!(matches!(d.route_for(&gone), Way::NoMailbox(_)));
}

#[test]
fn what_matches_no_route_goes_by_mx() {
    let d = directory(ONE, "");
    assert!(matches!(d.route_for(&mailbox("x@Example.NET")), Way::Mx));
    assert_eq!(d.destination(&mailbox("x@Example.NET")), "example.net");
    assert_eq!(
        d.destination(&mailbox("x@[IPv6:2001:db8::1]")),
        "[ipv6:2001:db8::1]"
    );
}

#[test]
fn an_account_gets_the_mail_of_its_addresses_and_no_other() {
    let domains = "\
[[domain]]
name = \"example.org\"
mailboxes = [\"alice\", \"bob\"]
aliases = \"aliases\"
subaddress = \"+\"
catch_all = \"bob@example.org\"
[[domain]]
name = \"münchen.example\"
mailboxes = [\"alice\"]
";
    let directory = directory(domains, "sales: alice\nteam: alice, bob, x@far.example\n");
    for (account, address, gets) in [
        ("alice@example.org", "alice@example.org", true),
        ("alice@example.org", "ALICE+x@Example.org", true),
        ("alice@example.org", "sales@example.org", true),
        ("alice@example.org", "team@example.org", true),
        ("alice@example.org", "bob@example.org", false),
        ("alice@example.org", "anybody@example.org", false),
        ("bob@example.org", "anybody@example.org", true),
        ("alice@example.org", "alice@xn--mnchen-3ya.example", false),
        (
            "alice@xn--mnchen-3ya.example",
            "alice@münchen.example",
            true,
        ),
        ("alice", "alice@example.org", true),
        ("alice", "alice@xn--mnchen-3ya.example", true),
        ("alice", "bob@example.org", false),
        ("nobody", "nobody@example.org", false),
        ("x@far.example", "x@far.example", true),
        ("x@far.example", "y@far.example", false),
        ("x@far.example", "team@example.org", false),
    ] {
        let said = directory.gets_mail(account, &mailbox(address));
        assert_eq!(said, gets, "{account} as {address}");
    }
}
