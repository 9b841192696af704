//! Reports about mail in the name of domains, over days of a clock that the test turns: counted,
//! kept over a restart, sent once a day to those who want them; and those that come, kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste::authenticate::message::{Judge, Judgement, Sender, Settings as Judging};
use posthaste::config::Config;
use posthaste::deliver::{Fate, Outcome};
use posthaste::dispatch::{Dispatch, Stages};
use posthaste::feedback::{FLUSH, Feedback, Settings};
use posthaste::shutdown::Shutdown;
use posthaste::telemetry::Log;
use posthaste_mailauth::report::aggregate::{
    Aggregate, Disposition, Mail, Published, Reporter, Row,
};
use posthaste_mailauth::report::open::{self, Received};
use posthaste_message::header::Scan;
use posthaste_queue::backoff::Intervals;
use posthaste_queue::envelope::Recipient;
use posthaste_queue::{Queue, QueueId};
use posthaste_smtp::address::{ForwardPath, ReversePath, Utf8};
use posthaste_smtp::reply::Reply;
use posthaste_world::{Timestamp, World};

use crate::doors::{Hosts, Names, Node, mailbox};

const DAY: Duration = Duration::from_secs(86_400);
/// Of author.test, whose reports go to another domain, which wants them.
const WANTED: &str = "\
txt _dmarc.author.test v=DMARC1; p=quarantine; rua=mailto:dmarc@reports.test
txt author.test._report._dmarc.reports.test v=DMARC1
txt author.test v=spf1 ip4:192.0.2.1 -all
";
const MESSAGE: &str = "From: a@author.test\r\nSubject: hello\r\n\r\nhello\r\n";

/// One server's reports, with a queue from which nothing is delivered.
struct Scene {
    world: World,
    files: Arc<crate::doors::Files>,
    feedback: Arc<Feedback>,
    dispatch: Arc<Dispatch>,
    queue: Arc<Queue>,
    stop: Shutdown,
}

impl Scene {
    fn start(dns: &str) -> Scene {
        let node = Node::start("", dns, Hosts::none());
        Scene::over(node)
    }

    fn over(node: Node) -> Scene {
        let (world, files) = (node.world.clone(), node.files.clone());
        let log = Log::new(Box::new(std::io::sink()), world.clock.clone());
        let settings = posthaste_queue::Settings {
            spool: posthaste_queue::spool::Settings {
                segment: 4 << 20,
                spare: 1,
                ..posthaste_queue::spool::Settings::default()
            },
            schedule: posthaste_queue::schedule::Settings {
                intervals: Intervals::new(&[DAY]),
                workers: 1,
                workers_per_destination: 1,
                classes: Vec::new(),
            },
        };
        let key: posthaste_queue::Key = Arc::new(|_| "held:".into());
        let dir = Path::new("/data/queue");
        let (queue, _) = Queue::open(&world, dir, settings, key).unwrap();
        let feedback = Arc::new(feedback(&world, &log));
        let stop = Shutdown::default();
        let stages = Stages {
            delivery: node.delivery,
            reports: node.reports,
            feedback: feedback.clone(),
            intervals: Intervals::new(&[DAY]),
        };
        let dispatch = Dispatch::new(world.clone(), log, queue.clone(), stop.clone(), stages);
        Scene {
            world,
            files,
            feedback,
            dispatch,
            queue,
            stop,
        }
    }

    /// The verdict on a message from `ip` in the name of author.test.
    async fn judged(&self, ip: &str) -> Judgement {
        let settings = Arc::new(Judging {
            authserv_id: "mx.ours.test".into(),
            rules: self.rules(),
        });
        let sender = Sender {
            ip: ip.parse().ok(),
            helo: "host.author.test".into(),
            reverse_path: ReversePath::parse("<a@author.test>", Utf8::Refused).unwrap(),
        };
        let now_s = self.world.clock.now().as_secs();
        let mut judge = Judge::begin(&self.world, &settings, sender, now_s);
        let mut scan = Scan::new();
        scan.push(MESSAGE.as_bytes());
        judge.push(MESSAGE.as_bytes(), scan.facts());
        judge.judge(&scan.finish()).await
    }

    fn rules(&self) -> posthaste::config::Dmarc {
        let path = Path::new("/etc/posthaste.toml");
        Config::load(path, &*self.files).unwrap().config.dmarc
    }

    async fn comes(&self, ip: &str) {
        let judgement = self.judged(ip).await;
        let now = self.world.clock.now();
        let header = MESSAGE.split_once("\r\n\r\n").unwrap().0.as_bytes();
        self.feedback.note(&judgement, header, now);
    }

    /// Lets the server run for `time`, and kills it.
    async fn runs_until_killed(&self, time: Duration) {
        let keeping = self.feedback.clone();
        tokio::select! {
            () = keeping.keep(self.dispatch.clone(), self.stop.clone()) => {}
            () = self.world.clock.sleep(time) => {}
        }
    }

    /// Lets the server run, from now on, and returns after `time`.
    async fn runs(&self, time: Duration) {
        let keeping = self.feedback.clone();
        let task = keeping.keep(self.dispatch.clone(), self.stop.clone());
        self.world.work.spawn("feedback", Box::pin(task));
        self.world.clock.sleep(time).await;
    }

    /// What was queued, as readers of reports see it.
    async fn sent(&self) -> Vec<(String, Aggregate)> {
        let mut sent = Vec::new();
        for id in self.ids() {
            let stored = self.queue.read(id).await.unwrap();
            let to = stored.envelope().recipients[0].address.to_string();
            assert!(stored.envelope().message.reverse_path.is_null());
            let mut content = stored.content();
            let mut mail = Vec::new();
            while let Some(piece) = content.next().await.unwrap() {
                mail.extend_from_slice(&piece);
            }
            match open::open(&mail).unwrap() {
                Received::Aggregate(report) => sent.push((to, *report)),
                other => panic!("{other:?}"),
            }
        }
        sent
    }

    fn ids(&self) -> Vec<QueueId> {
        self.queue
            .list(None, 10)
            .into_iter()
            .map(|l| l.id)
            .collect()
    }

    fn is_kept(&self) -> bool {
        let files = self.files.below("/data/feedback");
        files.iter().any(|(_, octets)| !octets.is_empty())
    }
}

fn settings() -> Settings {
    Settings {
        send: true,
        hostname: "mx.ours.test".into(),
        organization: "Ours".into(),
        from: mailbox("postmaster@ours.test"),
        read_for: vec![mailbox("alice@ours.test")],
    }
}

fn feedback(world: &World, log: &Arc<Log>) -> Feedback {
    Feedback::new(world, log, Path::new("/data"), settings())
}

/// The only recipient of a message has it.
fn delivered() -> Vec<(u32, Outcome)> {
    let outcome = Outcome {
        fate: Fate::Delivered,
        ..Outcome::local(Reply::new(250, (2, 0, 0), "kept"))
    };
    vec![(0, outcome)]
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_asks_is_told_once_of_each_day() {
    let scene = Scene::start(WANTED);
    // 10:00 UTC of the first day.
    let first_day = scene.world.clock.now().as_secs() / 86_400;
    scene.comes("192.0.2.1").await;
    scene.comes("192.0.2.9").await;
    scene.comes("192.0.2.9").await;
    scene.runs(Duration::from_secs(13 * 3600)).await;
    assert_eq!(scene.sent().await, [], "the day is not over");
    scene.world.clock.sleep(Duration::from_secs(6 * 3600)).await;
    let sent = scene.sent().await;
    let [(to, report)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(to, "dmarc@reports.test");
    assert_eq!(report.published.domain, "author.test");
    assert_eq!(report.reporter.organization, "Ours");
    assert_eq!(report.begin_s, first_day * 86_400);
    assert_eq!(report.end_s, (first_day + 1) * 86_400);
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|(row, n)| (row.source.to_string(), row.spf_aligned, *n))
        .collect();
    assert_eq!(
        rows,
        [
            ("192.0.2.1".to_owned(), true, 1),
            ("192.0.2.9".to_owned(), false, 2)
        ]
    );
    // The second day begins; its report is another one, and the first is not sent again.
    scene.comes("192.0.2.9").await;
    scene.world.clock.sleep(DAY).await;
    let sent = scene.sent().await;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].1.messages(), 1);
    scene.world.clock.sleep(3 * DAY).await;
    assert_eq!(scene.ids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn counts_outlive_a_restart_and_what_was_queued_before_a_crash_is_not_queued_again() {
    let scene = Scene::start(WANTED);
    scene.comes("192.0.2.9").await;
    // What comes after the last minute is lost, and nothing else.
    let life = FLUSH + Duration::from_secs(1);
    tokio::join!(scene.runs_until_killed(life), async {
        scene.world.clock.sleep(FLUSH).await;
        scene.comes("192.0.2.7").await;
    });
    assert!(scene.is_kept());
    let log = Log::new(Box::new(std::io::sink()), scene.world.clock.clone());
    let again = Scene {
        feedback: Arc::new(feedback(&scene.world, &log)),
        stop: Shutdown::default(),
        ..scene
    };
    tokio::join!(again.runs_until_killed(DAY), async {
        again.world.clock.sleep(Duration::from_secs(1)).await;
        again.comes("192.0.2.1").await;
    });
    let sent = again.sent().await;
    assert_eq!(sent.len(), 1);
    let sources = sent[0].1.rows.keys().map(|row| row.source.to_string());
    assert_eq!(sources.collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.9"]);

    // Killed before the state knew that it was sent.
    let third = Scene {
        feedback: Arc::new(feedback(&again.world, &log)),
        ..again
    };
    third.comes_at_first_day("192.0.2.9").await;
    third.feedback.send_due(&third.dispatch).await;
    assert_eq!(
        third.ids().len(),
        1,
        "the id derives from domain, day and destination"
    );
}

impl Scene {
    /// A message that is counted for the day on which the clock began.
    async fn comes_at_first_day(&self, ip: &str) {
        let judgement = self.judged(ip).await;
        self.feedback.note(
            &judgement,
            b"Subject: x\r\n",
            Timestamp::from_secs(1_795_514_400),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_who_does_not_want_it() {
    let day = DAY + Duration::from_secs(3600);
    for (dns, why) in [
        (
            "txt _dmarc.author.test v=DMARC1; p=reject; rua=mailto:d@reports.test\n",
            "the other domain does not say that it wants them",
        ),
        (
            "txt _dmarc.author.test v=DMARC1; p=reject\n",
            "not asked for",
        ),
        (
            "txt _dmarc.author.test v=DMARC1; p=reject; rua=https://reports.test/\n",
            "no mail",
        ),
    ] {
        let scene = Scene::start(dns);
        scene.comes("192.0.2.9").await;
        scene.runs(day).await;
        assert_eq!(scene.ids(), [], "{why}");
    }
    let scene = Scene::start(WANTED);
    let report = "Subject: Report Domain: ours.test\r\n\tSubmitter: x\r\n\tReport-ID: <1>\r\n";
    let judgement = scene.judged("192.0.2.9").await;
    let now = scene.world.clock.now();
    scene.feedback.note(&judgement, report.as_bytes(), now);
    scene.runs(day).await;
    assert_eq!(scene.ids(), [], "no report about reports");
    assert!(!scene.is_kept());
}

#[tokio::test(start_paused = true)]
async fn while_the_dns_fails_a_report_waits_two_days_and_no_longer() {
    let scene = Scene::start(WANTED);
    scene.comes("192.0.2.9").await;
    let failing = World {
        dns: Names::table("fails _dmarc.author.test"),
        ..scene.world.clone()
    };
    let log = Log::new(Box::new(std::io::sink()), failing.clock.clone());
    // What was counted is written when the server stops.
    scene.stop.begin();
    scene.runs(Duration::from_secs(1)).await;
    assert!(scene.is_kept());
    let deaf = Scene {
        feedback: Arc::new(feedback(&failing, &log)),
        stop: Shutdown::default(),
        ..scene
    };
    deaf.runs_until_killed(2 * DAY).await;
    assert_eq!(deaf.ids(), []);
    let hearing = Scene {
        feedback: Arc::new(feedback(&deaf.world, &log)),
        stop: Shutdown::default(),
        ..deaf
    };
    hearing.runs(Duration::from_secs(1)).await;
    assert_eq!(hearing.ids().len(), 1, "it was still owed");

    let late = Scene::start(WANTED);
    late.comes("192.0.2.9").await;
    late.stop.begin();
    late.runs(Duration::from_secs(1)).await;
    let failing = World {
        dns: Names::table("fails _dmarc.author.test"),
        ..late.world.clone()
    };
    let late = Scene {
        feedback: Arc::new(feedback(&failing, &log)),
        stop: Shutdown::default(),
        ..late
    };
    late.runs_until_killed(4 * DAY).await;
    let late = Scene {
        feedback: Arc::new(feedback(&late.world, &log)),
        stop: Shutdown::default(),
        ..late
    };
    late.runs(DAY).await;
    assert_eq!(late.ids(), [], "it was given up");
}

/// A mail that brings a report about ours.test.
fn brought(id: &str) -> Vec<u8> {
    report_of(id, 1, "ours.test")
}

/// The same with so many rows, all in the name of `from`.
fn report_of(id: &str, rows: u32, from: &str) -> Vec<u8> {
    let published = Published {
        domain: "ours.test".into(),
        ..Published::default()
    };
    let reporter = Reporter {
        organization: "Far".into(),
        email: "dmarc@far.test".into(),
        ..Reporter::default()
    };
    let mut report = Aggregate::new(reporter, id.into(), (86_400, 172_800), published);
    let row = |number: u32| Row {
        source: std::net::IpAddr::V4(number.into()),
        disposition: Disposition::None,
        dkim_aligned: true,
        spf_aligned: false,
        overrides: Vec::new(),
        header_from: from.into(),
        envelope_from: None,
        envelope_to: None,
        dkim: Vec::new(),
        spf: Vec::new(),
    };
    (0..rows).for_each(|number| report.add(row(number), 3));
    let mail = Mail {
        submitter: "mx.far.test",
        from: "dmarc@far.test",
        to: "alice@ours.test",
        message_id: "1@far.test",
        now_s: 172_900,
    };
    report.to_mail(&mail, 1_000_000).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_report_that_comes_is_kept_once_and_only_for_the_mailbox_that_gets_them() {
    let mut node = Node::start("", WANTED, Hosts::none());
    let (alice, bob) = (["alice@ours.test"], ["bob@ours.test"]);
    let report = node.keep("d@far.test", &alice, &brought("1"));
    let same = node.keep("d@far.test", &alice, &brought("1"));
    let other = node.keep("d@far.test", &alice, &brought("2"));
    let elsewhere = node.keep("d@far.test", &bob, &brought("3"));
    let ordinary = node.keep("d@far.test", &alice, MESSAGE.as_bytes());
    let broken = String::from_utf8(brought("4")).unwrap();
    let broken = broken.replacen("H4sI", "AAAA", 1);
    let broken = node.keep("d@far.test", &alice, broken.as_bytes());
    let scene = Scene::over(node);
    for stored in [&report, &same, &other, &elsewhere, &ordinary, &broken] {
        scene.feedback.read(stored, &delivered()).await;
    }
    let deferred = vec![(0, Outcome::local(Reply::new(451, (4, 0, 0), "later")))];
    scene.feedback.read(&report, &deferred).await;
    let ids = |kept: Vec<posthaste::feedback::received::Kept>| -> Vec<String> {
        kept.into_iter().map(|k| k.id).collect()
    };
    let all = scene.feedback.received(None).await.unwrap();
    assert_eq!(ids(all), ["1", "2"]);
    let ours = scene.feedback.received(Some("ours.test".into())).await;
    assert_eq!(ids(ours.unwrap()), ["1", "2"]);
    let none = scene.feedback.received(Some("b.test".into())).await;
    assert_eq!(ids(none.unwrap()), [""; 0]);
}

/// Mail to an alias ends in a mailbox of another name, and local parts come in any case.
#[tokio::test(start_paused = true)]
async fn a_mailbox_that_gets_reports_may_be_an_alias() {
    let mut node = Node::start("", WANTED, Hosts::none());
    let alias = mailbox("dmarc@ours.test");
    let mut expanded = Recipient::new(mailbox("bob@ours.test"));
    expanded.alias = Some(alias);
    let mut tagged = Recipient::new(mailbox("bob+d@ours.test"));
    let given = ForwardPath::Mailbox(mailbox("BOB+D@ours.test"));
    tagged.original = Some(given);
    let other = Recipient::new(mailbox("bob@ours.test"));
    let stored: Vec<_> = [("1", expanded), ("2", tagged), ("3", other)]
        .map(|(id, to)| node.keep_for("d@far.test", vec![to], &brought(id)))
        .into();
    let scene = Scene::over(node);
    let mut settings = settings();
    settings.read_for = vec![mailbox("Dmarc@ours.test"), mailbox("bob+d@OURS.test")];
    scene.feedback.replace(settings);
    for stored in &stored {
        scene.feedback.read(stored, &delivered()).await;
    }
    let kept = scene.feedback.received(None).await.unwrap();
    let ids: Vec<_> = kept.iter().map(|k| &*k.id).collect();
    assert_eq!(ids, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_reports_go_when_all_are_too_many_octets() {
    let mut node = Node::start("", WANTED, Hosts::none());
    let name = format!("{}.test", ["x".repeat(60).as_str(); 4].join("."));
    let each = 500 * (name.len() + 60);
    let many = 4 * 1024 * 1024 / each + 20;
    let mails: Vec<_> = (0..many)
        .map(|n| {
            let mail = report_of(&format!("{n:04}"), 500, &name);
            node.keep("d@far.test", &["alice@ours.test"], &mail)
        })
        .collect();
    let scene = Scene::over(node);
    for stored in &mails {
        scene.feedback.read(stored, &delivered()).await;
    }
    let kept = scene.feedback.received(None).await.unwrap();
    assert!(kept.len() < many, "{} of {many}", kept.len());
    let octets: usize = kept
        .iter()
        .map(|k| serde_json::to_vec(k).unwrap().len())
        .sum();
    assert!(
        octets <= 4 * 1024 * 1024 && octets > 3 * 1024 * 1024,
        "{octets}"
    );
    assert_eq!(kept.last().unwrap().id, format!("{:04}", many - 1));
    assert_ne!(kept[0].id, "0000");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_set_aside_and_mail_goes_on() {
    let scene = Scene::start(WANTED);
    scene
        .files
        .put("/data/feedback", &"no database ".repeat(1000));
    scene.comes("192.0.2.9").await;
    scene.runs(DAY + Duration::from_secs(3600)).await;
    assert_eq!(scene.ids().len(), 1);
    let aside = scene.files.below("/data/feedback.damaged");
    assert_eq!(aside.len(), 1);
}
