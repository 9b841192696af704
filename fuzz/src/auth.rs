//! Users: exchanges of AUTH, and files of accounts.

use posthaste::authenticate::accounts::Book;
use posthaste::authenticate::mechanism::scram::Stored;
use posthaste::authenticate::mechanism::{Channel, Exchange, Mechanism, Step};
use posthaste::authenticate::secret::scram::{Keys, Salt};

use crate::choices::seeds;

/// Parts the responses of a client; it stands in no UTF-8.
const NEXT: u8 = 0xff;
/// Most responses that one exchange is given.
const RESPONSES_MAX: usize = 8;

/// Two octets choose mechanism and channel; the rest is what a client says. Whatever it is, nobody
/// is proven without a password, and an exchange that is over stays so.
pub fn exchange(octets: &[u8]) {
    let Some(([which, flags], rest)) = seeds::<2>(octets) else {
        return;
    };
    let all = Mechanism::ALL;
    let mechanism = all[usize::from(which) % all.len()];
    let channel = Channel {
        exporter: (flags & 1 != 0).then_some([7; 32]),
        certificate: Vec::new(),
        plus_offered: flags & 2 != 0,
    };
    let mut responses = rest.split(|octet| *octet == NEXT).take(RESPONSES_MAX);
    let initial = match flags & 4 != 0 {
        true => responses.next(),
        false => None,
    };
    let (mut exchange, mut step) = Exchange::begin(mechanism, initial, &channel, "<1@mx.example>");
    let mut over = false;
    for response in responses {
        if let Step::Scram(first) = &step {
            assert!(!first.claimed().octets().is_empty());
            step = exchange.scram(stored(), "nonce");
            assert!(matches!(&step, Step::Challenge(octets) if octets.starts_with(b"r=")));
        }
        over |= !matches!(step, Step::Challenge(_));
        step = exchange.respond(response, &channel);
        assert!(
            !matches!(step, Step::Proven(..)),
            "nobody knows the password"
        );
        assert!(
            !over || matches!(step, Step::Malformed(_)),
            "{step:?} after the end"
        );
        if let Step::Password(claimed, password) = &step {
            let _ = (claimed.shown(), password.forms());
        }
    }
}

/// Keys that no password has.
fn stored() -> Stored {
    let salt = Salt {
        iterations: 4096,
        octets: b"salt".as_slice().into(),
    };
    Stored {
        keys: vec![Keys {
            salt,
            stored: [1; 32],
            server: [2; 32],
        }],
        known: true,
    }
}

/// Any text as a file of accounts: each account that is read is found by its name, and every flaw
/// names a line that is there.
pub fn accounts(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (book, flaws) = Book::parse(&text);
    for account in book.accounts() {
        let found = book.find(&account.name).expect("an account of the book");
        assert_eq!(found.name, account.name);
        assert!(!account.secrets.is_empty());
    }
    let lines = text.lines().count();
    assert!(flaws.iter().all(|flaw| (1..=lines).contains(&flaw.line)));
    for mechanism in Mechanism::ALL {
        let served = book.serves(mechanism);
        assert!(!served || book.accounts().next().is_some());
    }
}
