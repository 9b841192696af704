//! What the public suite does not ask: limits, explanations, initial processing, addresses with
//! UTF-8, and what a verdict says about itself. Each case names the clause of RFC 7208 it is from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod zone;

use posthaste_mailauth::spf::{self, Checked, Client, Identity};
use posthaste_world::dns::Data;
use zone::{Entry, Zone};

/// A zone in a few words a line: a name, a type, a value; `{n}` lines of a name are written out.
fn zone(lines: &str) -> Zone {
    let mut zone = Zone::default();
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let value = words.next().unwrap_or_default();
        let entry = match kind {
            "A" => Entry::Record(Data::A(value.parse().unwrap())),
            "MX" => Entry::Record(Data::Mx {
                preference: 10,
                exchange: value.to_owned(),
            }),
            "PTR" => Entry::Record(Data::Ptr(value.to_owned())),
            "TXT" => Entry::Record(Data::Txt(value.replace("\\xe9", "\u{fffd}").into())),
            "TIMEOUT" => Entry::Timeout,
            other => panic!("{other}"),
        };
        zone.add(name, entry);
    }
    zone
}

async fn check(zone: &Zone, helo: &str, from: &str) -> Checked {
    let client = Client {
        ip: "192.0.2.3".parse().unwrap(),
        helo,
        receiver: "mx.receiver.example",
        now_s: 1_700_000_000,
    };
    spf::check_mail_from(zone, &client, from).await
}

async fn verdict(lines: &str, from: &str) -> &'static str {
    let checked = check(&zone(lines), "mail.sender.example", from).await;
    checked.verdict.word()
}

#[tokio::test]
async fn a_domain_that_cannot_be_asked_for_has_no_verdict() {
    // RFC 7208 §4.3.
    let zone = zone("example.com TXT v=spf1 -all");
    let long = format!("x@{}.example.com", "a".repeat(64));
    for from in [
        "x@[192.0.2.3]",
        "x@localhost",
        "x@a..example.com",
        &long,
        "x@nowhere.example",
    ] {
        let got = check(&zone, "mail.example.com", from).await;
        assert_eq!(
            (got.verdict.word(), got.explanation),
            ("none", None),
            "{from}"
        );
    }
    // The null reverse-path stands for postmaster at the name in HELO (RFC 7208 §2.4).
    for (helo, want) in [
        ("example.com", "fail"),
        ("OEMCOMPUTER", "none"),
        ("[192.0.2.3]", "none"),
    ] {
        assert_eq!(check(&zone, helo, "").await.verdict.word(), want, "{helo}");
        let client = Client {
            ip: "192.0.2.3".parse().unwrap(),
            helo,
            receiver: "r",
            now_s: 0,
        };
        let got = spf::check_helo(&zone, &client).await;
        assert_eq!(
            (got.identity, got.verdict.word()),
            (Identity::Helo, want),
            "{helo}"
        );
    }
}

#[tokio::test]
async fn octets_outside_of_ascii_break_a_record_and_spare_its_neighbours() {
    // RFC 7208 §4.5 and §4.6.1.
    for (record, want) in [
        ("v=spf1 a:example.net\\xe9 -all", "permerror"),
        ("v=spf1 -all \\xe9", "permerror"),
        ("v=spf1\t-all", "none"),
        ("v=spf1 ip4:192.0.2.3\t-all", "permerror"),
        ("v=spf1   ip4:192.0.2.3   -all  ", "pass"),
        ("not spf \\xe9", "none"),
    ] {
        let got = verdict(&format!("example.com TXT {record}"), "x@example.com").await;
        assert_eq!(got, want, "{record}");
    }
    let lines = "example.com TXT \\xe9 v=spf1\nexample.com TXT v=spf1 -all";
    assert_eq!(verdict(lines, "x@example.com").await, "fail");
}

#[tokio::test]
async fn an_eleventh_term_that_asks_is_one_too_many_wherever_it_stands() {
    // RFC 7208 §4.6.4: `a` found each time, so that no void look-up interferes.
    let many = |n: usize, tail: &str| {
        format!(
            "ok.example A 192.0.2.99\nexample.com TXT v=spf1 {}{tail}",
            "a:ok.example ".repeat(n)
        )
    };
    assert_eq!(verdict(&many(10, "?all"), "x@example.com").await, "neutral");
    assert_eq!(
        verdict(&many(11, "?all"), "x@example.com").await,
        "permerror"
    );
    assert_eq!(
        verdict(&many(10, "ip4:192.0.2.3 a:ok.example"), "x@example.com").await,
        "pass"
    );
    let inner = "\ninner.example TXT v=spf1 a:ok.example ?all";
    let include = |n| many(n, "include:inner.example ?all") + inner;
    assert_eq!(verdict(&include(8), "x@example.com").await, "neutral");
    assert_eq!(verdict(&include(9), "x@example.com").await, "permerror");
    let redirect = |n| many(n, "redirect=inner.example") + inner;
    assert_eq!(verdict(&redirect(8), "x@example.com").await, "neutral");
    assert_eq!(verdict(&redirect(9), "x@example.com").await, "permerror");
    for looping in [
        "v=spf1 include:example.com -all",
        "v=spf1 redirect=example.com",
        "v=spf1 include:b.example\nb.example TXT v=spf1 redirect=example.com",
    ] {
        let lines = format!("example.com TXT {looping}");
        assert_eq!(
            verdict(&lines, "x@example.com").await,
            "permerror",
            "{looping}"
        );
    }
}

#[tokio::test]
async fn a_third_look_up_that_finds_nothing_is_one_too_many() {
    // RFC 7208 §4.6.4.
    for (record, want) in [
        ("a:n1.example mx:n2.example ?all", "neutral"),
        (
            "a:n1.example mx:n2.example exists:n3.example ?all",
            "permerror",
        ),
        (
            "a:n1.example include:deep.example a:n3.example ?all",
            "permerror",
        ),
        ("ptr a:n1.example a:n2.example ?all", "permerror"),
        (
            "a:n1.example a:n2.example redirect=deep.example",
            "permerror",
        ),
    ] {
        let lines =
            format!("example.com TXT v=spf1 {record}\ndeep.example TXT v=spf1 a:n2.example ?all");
        assert_eq!(verdict(&lines, "x@example.com").await, want, "{record}");
    }
}

#[tokio::test]
async fn an_mx_may_name_ten_hosts_and_a_ptr_is_read_to_its_tenth() {
    // RFC 7208 §4.6.4.
    let mx = |n: usize| -> String {
        let hosts =
            (0..n).map(|i| format!("example.com MX h{i}.example\nh{i}.example A 192.0.2.9"));
        let hosts: Vec<String> = hosts.collect();
        format!("{}\nexample.com TXT v=spf1 mx ?all", hosts.join("\n"))
    };
    assert_eq!(verdict(&mx(10), "x@example.com").await, "neutral");
    assert_eq!(verdict(&mx(11), "x@example.com").await, "permerror");
    let ptr = |n: usize| -> String {
        let other = (1..n).map(|i| format!("3.2.0.192.in-addr.arpa PTR h{i}.other.example"));
        let other: Vec<String> = other.collect();
        format!(
            "{}\n3.2.0.192.in-addr.arpa PTR a.example.com\na.example.com A 192.0.2.3\n\
             example.com TXT v=spf1 ptr -all",
            other.join("\n")
        )
    };
    assert_eq!(verdict(&ptr(10), "x@example.com").await, "pass");
    assert_eq!(verdict(&ptr(11), "x@example.com").await, "fail");
}

#[tokio::test]
async fn redirects_lead_to_a_record_or_to_an_error() {
    // RFC 7208 §6.1.
    for (record, want) in [
        ("v=spf1 redirect=nothing.example", "permerror"),
        ("v=spf1 redirect=text.example", "permerror"),
        ("v=spf1 redirect=slow.example", "temperror"),
        ("v=spf1 redirect=a.b redirect=a.b", "permerror"),
        ("v=spf1 redirect=", "permerror"),
        ("v=spf1 redirect=%{h}", "permerror"),
        ("v=spf1 redirect=%{d}.to.example.", "pass"),
        ("v=spf1 ?all redirect=nothing.example", "neutral"),
    ] {
        let lines = format!(
            "text.example TXT v=spf2.0/pra\nslow.example TIMEOUT\n\
             example.com.to.example TXT v=spf1 ip4:192.0.2.0/24\nexample.com TXT {record}"
        );
        assert_eq!(verdict(&lines, "x@example.com").await, want, "{record}");
    }
}

#[tokio::test]
async fn an_explanation_is_given_for_a_fail_and_only_if_it_is_sound() {
    // RFC 7208 §6.2.
    for (text, want) in [
        (
            "See http://%{d}/why?s=%{S}",
            Some("See http://example.com/why?s=x%2By%40example.com"),
        ),
        (
            "%{c} %{r} %{t} %{v} %{h}",
            Some("192.0.2.3 mx.receiver.example 1700000000 in-addr mail.sender.example"),
        ),
        ("100%% of%_us%-", Some("100% of us%20")),
        ("wrong %", None),
        ("wrong %{z}", None),
        ("\\xe9", None),
        ("", Some("")),
    ] {
        let lines =
            format!("example.com TXT v=spf1 -all exp=e.example.com\ne.example.com TXT {text}");
        let got = check(&zone(&lines), "mail.sender.example", "x+y@example.com").await;
        assert_eq!(
            (got.verdict.word(), got.explanation.as_deref()),
            ("fail", want),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_explanation_is_had_from_one_place_in_one_piece() {
    // RFC 7208 §6.2; §5.2 for includes, §6.1 for redirects.
    for (lines, want) in [
        // Twice there, not there, or not to be had now.
        (
            "example.com TXT v=spf1 -all exp=e.example.com
             e.example.com TXT a
             e.example.com TXT b",
            None,
        ),
        ("example.com TXT v=spf1 -all exp=e.example.com", None),
        (
            "example.com TXT v=spf1 -all exp=e.example.com\ne.example.com TIMEOUT",
            None,
        ),
        (
            "example.com TXT v=spf1 ~all exp=e.example.com\ne.example.com TXT a",
            None,
        ),
        // Not of an include, but of a redirect's target, and not of who redirects.
        (
            "example.com TXT v=spf1 -include:i.example exp=e.example.com
             i.example TXT v=spf1 +all exp=o.example
             o.example TXT other
             e.example.com TXT own",
            Some("own"),
        ),
        (
            "example.com TXT v=spf1 exp=e.example.com redirect=i.example
             i.example TXT v=spf1 -all exp=%{d}.o.example
             i.example.o.example TXT by %{d} for %{o}
             e.example.com TXT own",
            Some("by i.example for example.com"),
        ),
        (
            "example.com TXT v=spf1 exp=e.example.com redirect=i.example
             i.example TXT v=spf1 -all
             e.example.com TXT own",
            None,
        ),
    ] {
        let got = check(&zone(lines), "mail.sender.example", "x@example.com").await;
        assert_eq!(got.explanation.as_deref(), want, "{lines}");
    }
    for modifier in ["exp=", "exp=museum", "exp=a.b exp=a.b"] {
        let lines = format!("example.com TXT v=spf1 -all {modifier}");
        assert_eq!(
            verdict(&lines, "x@example.com").await,
            "permerror",
            "{modifier}"
        );
    }
}

#[tokio::test]
async fn an_explanation_keeps_the_case_of_the_sender() {
    let lines = "example.com TXT v=spf1 -all exp=e.example.com\n\
                 e.example.com TXT %{s} %{o} %{d} %{h}";
    let got = check(&zone(lines), "Mail.Example", "Al.B@Example.COM").await;
    let want = "Al.B@Example.COM Example.COM Example.COM Mail.Example";
    assert_eq!(
        (got.explanation.as_deref(), got.domain.as_str()),
        (Some(want), "example.com")
    );
}

#[tokio::test]
async fn an_explanation_is_one_short_line_whatever_the_peer_says() {
    let lines = format!(
        "example.com TXT v=spf1 -all exp=e.example.com\ne.example.com TXT %{{l}} {}",
        "%{h}".repeat(500)
    );
    let got = check(&zone(&lines), "a\r\nb", "\"q\r\n\"@example.com").await;
    let explanation = got.explanation.unwrap();
    assert!(explanation.len() <= 400 && explanation.starts_with("\"q??\" a??ba??b"));
}

#[tokio::test]
async fn the_macro_p_prefers_the_domain_itself_and_is_unknown_without_a_name() {
    // RFC 7208 §7.3.
    let record = "example.com TXT v=spf1 exists:%{p}.ok.example -all";
    for (ptr, known) in [
        ("other.example", "other.example"),
        ("other.example sub.example.com", "sub.example.com"),
        ("other.example sub.example.com example.com", "example.com"),
        ("false.example", "unknown"),
        ("", "unknown"),
    ] {
        let mut lines =
            format!("{record}\n{known}.ok.example A 127.0.0.2\nfalse.example A 192.0.2.4");
        for name in ptr.split_whitespace() {
            lines += &format!("\n3.2.0.192.in-addr.arpa PTR {name}");
            if name != "false.example" {
                lines += &format!("\n{name} A 192.0.2.3");
            }
        }
        assert_eq!(verdict(&lines, "x@example.com").await, "pass", "{ptr}");
    }
}

#[tokio::test]
async fn names_are_asked_for_in_ascii_and_other_local_parts_match_nothing() {
    // RFC 8616 §4.
    let lines = "xn--bcher-kva.example TXT v=spf1 exists:%{l}.l.example include:%{s}.example \
                 exists:%{o}.o.example -all\nxn--bcher-kva.example.o.example A 127.0.0.1";
    let got = check(&zone(lines), "mail.example", "\u{fc}@b\u{fc}cher.example").await;
    assert_eq!(
        (got.verdict.word(), got.domain.as_str()),
        ("pass", "xn--bcher-kva.example")
    );
}

#[tokio::test]
async fn a_verdict_says_why_and_which_code_refuses_for_it() {
    let lines = "example.com TXT v=spf1 ip4:198.51.100.0/24 include:other.example -all\n\
                 other.example TXT v=spf1 a:h.other.example ?all\nh.other.example A 192.0.2.4\n\
                 bad.example TXT v=spf1 foo\nslow.example TIMEOUT";
    let zone = zone(lines);
    let got = check(&zone, "mail.example", "x@example.com").await;
    assert_eq!(got.reason, "-all of example.com matches 192.0.2.3");
    assert_eq!(
        got.trace,
        [
            "example.com: ip4:198.51.100.0/24 does not match 192.0.2.3",
            "example.com: include:other.example asks other.example",
            "other.example: a:h.other.example does not match 192.0.2.3",
            "other.example: ?all matches 192.0.2.3",
            "example.com: include:other.example does not match 192.0.2.3",
            "example.com: -all matches 192.0.2.3",
        ]
    );
    // RFC 7372 §3.2.
    for (from, reason, code) in [
        ("x@example.com", "-all of example.com", Some("5.7.23")),
        (
            "x@bad.example",
            "the term \"foo\" is no known mechanism",
            Some("5.7.24"),
        ),
        (
            "x@slow.example",
            "no DNS server answered in time",
            Some("4.7.24"),
        ),
        ("x@none.example", "none.example has no SPF record", None),
    ] {
        let got = check(&zone, "mail.example", from).await;
        assert!(got.reason.contains(reason), "{got:?}");
        assert_eq!(
            got.refusal_code().map(|c| c.to_string()).as_deref(),
            code,
            "{from}"
        );
    }
}

#[tokio::test]
async fn a_hostile_record_costs_a_bounded_trace_and_few_questions() {
    let record = "ip4:198.51.100.7 ".repeat(3_000) + &"mx ".repeat(50);
    let mut zone = Zone::default();
    zone.txt("example.com", &format!("v=spf1 {record}"));
    for i in 0..10 {
        let exchange = format!("h{i}.example");
        zone.add(
            &exchange,
            Entry::Record(Data::A("192.0.2.9".parse().unwrap())),
        );
        let preference = 1;
        zone.add(
            "example.com",
            Entry::Record(Data::Mx {
                preference,
                exchange,
            }),
        );
    }
    let got = check(&zone, "mail.example", "x@example.com").await;
    assert_eq!((got.verdict.word(), got.trace.len()), ("permerror", 200));
    // One for the record, eleven for each of ten terms.
    assert_eq!(zone.asked.load(std::sync::atomic::Ordering::Relaxed), 111);
}
