//! The authenticator with a file of accounts: what each kind of client is told.
#![allow(clippy::disallowed_methods)]

use std::io::sink;

use posthaste_world::real;

use super::accounts::edit::{self, Change};
use super::secret::Wanted;
use super::*;
use crate::telemetry::Log;

const BCRYPT: &str = "$2b$06$abcdefghijklmnopqrstuuxLa0AkDDSrQ9VwNnETzOsObiucpMYgC";

struct Fixture {
    authenticator: Authenticator,
    path: PathBuf,
    dir: tempfile::TempDir,
}

fn fixture(accounts: &str) -> Fixture {
    let world = real::world(&real::Settings::default()).unwrap();
    let log = Log::new(Box::new(sink()), world.clock.clone());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    std::fs::write(&path, accounts).unwrap();
    let state = accounts::store::read(&*world.disk, &path).unwrap();
    let store = Store::new(world.clone(), log, path.clone(), state);
    let guard = Arc::new(Guard::open(&world, dir.path()).unwrap());
    let mechanisms = Mechanism::ALL.to_vec();
    let authenticator = Authenticator::new(world, guard, store, mechanisms, "mx.example.org");
    Fixture {
        authenticator,
        path,
        dir,
    }
}

impl Fixture {
    async fn plain(&self, user: &str, password: &str, peer: &str) -> Verdict {
        let message = format!("\0{user}\0{password}");
        let (initial, peer) = (Some(message.as_bytes()), peer.parse().ok());
        let channel = Channel::default();
        let begun = self
            .authenticator
            .begin(Mechanism::Plain, initial, &channel, peer);
        verdict(begun.await.1)
    }

    async fn code(&self, user: &str, password: &str, peer: &str) -> u16 {
        match self.plain(user, password, peer).await.result {
            Ok(_) => 235,
            Err(refusal) => refusal.reply.code(),
        }
    }

    fn add(&self, name: &str, password: &str, label: &str) {
        let (name, password) = (
            Name::parse(name).unwrap(),
            Password::new(password.as_bytes()),
        );
        let wanted = Wanted {
            name: &name,
            password: &password,
            label,
            cram_md5: true,
            expires: None,
        };
        let world = &self.authenticator.world;
        let change = Change::Add(wanted);
        edit::change(
            &*world.disk,
            &*world.random,
            &self.path,
            &change,
            |_| Ok(()),
        )
        .unwrap();
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Verdict(verdict) => verdict,
        Answer::Challenge(_) => panic!("a challenge"),
    }
}

const HOME: &str = "192.0.2.1";

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
    let fixture = fixture(&format!("alice@example.org:{BCRYPT}\n"));
    let right = fixture.plain("Alice@Example.org", "secret", HOME).await;
    assert_eq!(right.result.unwrap().name.as_str(), "alice@example.org");
    let wrong = fixture
        .plain("alice@example.org", "Secret", HOME)
        .await
        .result
        .unwrap_err();
    for user in [
        "bob@example.org",
        "*)(uid=*",
        "\"",
        "a b",
        "\u{7f}",
        &"x".repeat(5000),
    ] {
        let unknown = fixture
            .plain(user, "secret", HOME)
            .await
            .result
            .unwrap_err();
        assert_eq!(unknown.reply, wrong.reply, "{user}");
    }
    assert_eq!(
        wrong.reply.to_string(),
        "535 5.7.8 the user name or the password is wrong"
    );
}

#[tokio::test]
async fn an_account_that_is_added_can_log_in_at_once() {
    let fixture = fixture("");
    let offered = async || fixture.authenticator.offer(None).await.0;
    assert_eq!(offered().await, []);
    assert_eq!(fixture.code("bob@example.org", "pencil", HOME).await, 535);
    fixture.add("bob@example.org", "pencil", "");
    fixture.add("bob@example.org", "phone-pencil", "phone");
    use Mechanism::{CramMd5, Login, Plain, ScramSha256};
    assert_eq!(offered().await, [ScramSha256, Plain, Login, CramMd5]);
    for (password, label) in [("pencil", ""), ("phone-pencil", "phone")] {
        let verdict = fixture.plain("bob@example.org", password, HOME).await;
        assert_eq!(&*verdict.result.unwrap().label, label);
    }
    // An error in the file leaves the accounts as they were.
    std::fs::write(&fixture.path, "nonsense\n").unwrap();
    assert_eq!(fixture.code("bob@example.org", "pencil", HOME).await, 235);
    std::fs::remove_file(&fixture.path).unwrap();
    assert_eq!(fixture.code("bob@example.org", "pencil", HOME).await, 535);
}

#[tokio::test]
async fn locked_expired_and_distant_accounts_do_not_log_in() {
    let lines = [
        "nologin",
        "expires=2020-01-01",
        "allow_nets=198.51.100.0/24",
    ];
    for extra in lines {
        let fixture = fixture(&format!("alice@example.org:{BCRYPT}::::::{extra}\n"));
        assert_eq!(
            fixture.code("alice@example.org", "secret", HOME).await,
            535,
            "{extra}"
        );
    }
    for field in ["!", "", "{PLAIN}", "!$6$salt$x"] {
        let fixture = fixture(&format!(
            "alice@example.org:{field}\nbob@example.org:{BCRYPT}\n"
        ));
        for password in ["", "!", "secret"] {
            let code = fixture.code("alice@example.org", password, HOME).await;
            assert!(
                code == 535 || password.is_empty() && code == 501,
                "{field} {code}"
            );
        }
    }
}

#[tokio::test]
async fn scram_asks_nobody_as_it_asks_somebody() {
    let fixture = fixture("");
    fixture.add("bob@example.org", "pencil", "");
    let first = async |user: &str| {
        let message = format!("n,,n={user},r=abc");
        let (initial, channel) = (Some(message.as_bytes()), Channel::default());
        let mechanism = Mechanism::ScramSha256;
        let begun = fixture
            .authenticator
            .begin(mechanism, initial, &channel, None)
            .await;
        let (mut conversation, Answer::Challenge(challenge)) = begun else {
            panic!()
        };
        let text = String::from_utf8(challenge).unwrap();
        let (nonce, rest) = text.split_once(',').unwrap();
        let last = format!("c=biws,{nonce},p={}", "A".repeat(43) + "=");
        let answer = fixture
            .authenticator
            .respond(&mut conversation, last.as_bytes())
            .await;
        let refusal = verdict(answer).result.unwrap_err();
        (rest.to_string(), refusal.reply)
    };
    let (bob, wrong) = first("bob@example.org").await;
    let (nobody, unknown) = first("nobody@example.org").await;
    assert_eq!(wrong, unknown);
    assert_ne!(bob, nobody);
    assert_eq!(first("nobody@example.org").await.0, nobody);
    // However its name is written, like one who is there.
    assert_eq!(first("BOB@Example.ORG").await.0, bob);
    assert_eq!(first("NOBODY@Example.ORG").await.0, nobody);
    assert_eq!(bob.len(), nobody.len());
    assert!(bob.ends_with(",i=100000") && nobody.ends_with(",i=100000"));
    // The same after a restart, and another one on another server.
    let world = fixture.authenticator.world.clone();
    let again = Guard::open(&world, fixture.dir.path()).unwrap();
    assert_eq!(again.key, fixture.authenticator.guard.key);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(Guard::open(&world, other.path()).unwrap().key, again.key);
}

#[tokio::test]
async fn a_cram_md5_answer_is_compared_with_what_is_stored() {
    let fixture = fixture("");
    fixture.add("bob@example.org", "pencil", "");
    let login = async |user: &str, password: &str| {
        let (mechanism, channel) = (Mechanism::CramMd5, Channel::default());
        let begun = fixture
            .authenticator
            .begin(mechanism, None, &channel, None)
            .await;
        let (mut conversation, Answer::Challenge(challenge)) = begun else {
            panic!()
        };
        let digest = secret::cram_md5::Key::derive(password.as_bytes()).digest(&challenge);
        let digits: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        let response = format!("{user} {digits}");
        let answer = fixture
            .authenticator
            .respond(&mut conversation, response.as_bytes())
            .await;
        (
            challenge,
            verdict(answer).result.map_err(|r| r.reply.code()),
        )
    };
    let (first, right) = login("bob@example.org", "pencil").await;
    let (second, wrong) = login("bob@example.org", "Pencil").await;
    assert!(right.is_ok());
    assert_eq!(wrong, Err(535));
    assert_eq!(login("nobody@example.org", "pencil").await.1, Err(535));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_certificate_stands_for_the_account_that_it_names() {
    let fixture = fixture(&format!("alice@example.org:{BCRYPT}\nbob@example.org:!\n"));
    let login = async |names: &[&str], wanted: &str| {
        let certificate = names.iter().map(|n| n.to_string()).collect();
        let channel = Channel {
            certificate,
            ..Channel::default()
        };
        let (mechanism, initial) = (Mechanism::External, Some(wanted.as_bytes()));
        let begun = fixture
            .authenticator
            .begin(mechanism, initial, &channel, None)
            .await;
        let result = verdict(begun.1).result;
        result
            .map(|l| l.name.to_string())
            .map_err(|r| r.reply.code())
    };
    let alice = Ok("alice@example.org".to_string());
    assert_eq!(login(&["Alice@example.org"], "").await, alice);
    assert_eq!(
        login(&["x@example.org", "alice@example.org"], "").await,
        alice
    );
    assert_eq!(
        login(&["alice@example.org"], "alice@example.org").await,
        alice
    );
    assert_eq!(
        login(&["alice@example.org"], "bob@example.org").await,
        Err(535)
    );
    assert_eq!(login(&["x@example.org"], "").await, Err(535));
    assert_eq!(login(&[], "alice@example.org").await, Err(535));
}

#[tokio::test]
async fn who_guesses_must_wait_and_learns_nothing_meanwhile() {
    let fixture = fixture(&format!("alice@example.org:{BCRYPT}\n"));
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(fixture.code("alice@example.org", "guess", HOME).await);
    }
    assert_eq!(codes[..10], [535; 10]);
    assert_eq!(codes[11], 421);
    // Not even the right password is looked at.
    let blocked = fixture
        .plain("alice@example.org", "secret", HOME)
        .await
        .result
        .unwrap_err();
    let text = blocked.reply.to_string();
    assert!(text.starts_with("421 4.7.0 too many failed logins from 192.0.2.1; try again in "));
    // Elsewhere the account is served still, and is known there from now on.
    assert_eq!(
        fixture
            .code("alice@example.org", "secret", "192.0.2.2")
            .await,
        235
    );
    for n in 0..30 {
        let peer = format!("203.0.113.{n}");
        fixture.code("alice@example.org", "guess", &peer).await;
    }
    assert_eq!(
        fixture
            .code("alice@example.org", "secret", "192.0.2.3")
            .await,
        454
    );
    assert_eq!(
        fixture
            .code("alice@example.org", "secret", "192.0.2.2")
            .await,
        235
    );
    // A restart forgets nothing.
    let (world, guard) = (
        fixture.authenticator.world.clone(),
        &fixture.authenticator.guard,
    );
    let log = Log::new(Box::new(sink()), world.clock.clone());
    failures::file::write(&guard.failures, &world, &log, &guard.failures_file()).await;
    let again = Guard::open(&world, fixture.dir.path()).unwrap();
    let claimed = Claimed::new(b"alice@example.org");
    let now = world.clock.now();
    let standing = |peer: &str| again.failures.standing(peer.parse().ok(), &claimed, now);
    assert!(standing("192.0.2.3").is_err());
    assert_eq!(standing("192.0.2.2"), Ok(Standing::Known));
}

#[tokio::test]
async fn a_login_stands_until_its_account_or_its_secret_is_taken_away() {
    let two = "alice@example.org:{PLAIN}one\nalice@example.org:{PLAIN}two::::::label=phone\n";
    let fixture = fixture(two);
    let peer: Option<IpAddr> = HOME.parse().ok();
    let login = async |password| {
        let verdict = fixture.plain("alice@example.org", password, HOME).await;
        verdict.result.unwrap()
    };
    let (main, phone) = (login("one").await, login("two").await);
    let relayed = fixture.authenticator.account("alice@example.org").await;
    let relayed = relayed.unwrap();
    let stand = async |file: &str| {
        std::fs::write(&fixture.path, file).unwrap();
        fixture.authenticator.store.current().await;
        let stands = |login| match fixture.authenticator.stands(login, peer) {
            Ok(()) => 250,
            Err(reply) => reply.code(),
        };
        [stands(&main), stands(&phone), stands(&relayed)]
    };
    assert_eq!(stand(two).await, [250, 250, 250]);
    let added = format!("{two}alice@example.org:{{PLAIN}}three::::::label=desk\n");
    assert_eq!(stand(&added).await, [250, 250, 250]);
    let changed = two.replace("}one", "}new");
    assert_eq!(stand(&changed).await, [421, 250, 250]);
    let near = two.replace("label=phone", "label=phone allow_nets=198.51.100.0/24");
    assert_eq!(stand(&near).await, [250, 421, 250]);
    let locked = two.replace("{PLAIN}", "!{PLAIN}");
    assert_eq!(stand(&locked).await, [421, 421, 421]);
    assert_eq!(stand("bob@example.org:{PLAIN}one\n").await, [421, 421, 421]);
    let refusal = fixture.authenticator.stands(&main, peer).unwrap_err();
    assert!(refusal.to_string().starts_with(
        "421 4.7.0 the account alice@example.org is gone or locked, or its password was changed"
    ));
}
