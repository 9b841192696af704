//! Envelopes come back as they were written, whatever they hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]

use posthaste_queue::QueueId;
use posthaste_queue::envelope::{
    ByMode, ContentFacts, DecodeError, DeliverBy, Envelope, LastReply, Message, Notify, Progress,
    Recipient, Ret, State,
};
use posthaste_smtp::address::{
    Domain, DomainName, ForwardPath, LocalPart, Mailbox, ReversePath, Utf8,
};
use posthaste_smtp::extension::BodyType;
use posthaste_smtp::reply::Reply;
use posthaste_world::Timestamp;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Box<str>> {
    any::<String>().prop_map(Into::into)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn mailbox() -> impl Strategy<Value = Mailbox> {
    // Local parts with blanks, quotes and the like take the quoted form on the wire.
    ("[ -~é]{1,30}", "[a-z0-9]{1,10}(\\.[a-z]{1,10}){0,3}").prop_map(|(local, domain)| {
        let local = LocalPart::from_value(&local, Utf8::Allowed).unwrap();
        Mailbox::new(
            local,
            Domain::Name(DomainName::parse(&domain, Utf8::Refused).unwrap()),
        )
    })
}

fn reverse_path() -> impl Strategy<Value = ReversePath> {
    of(mailbox()).prop_map(|m| m.map_or(ReversePath::Null, ReversePath::Mailbox))
}

fn reply() -> impl Strategy<Value = Reply> {
    let enhanced = of((any::<u8>(), any::<u16>(), any::<u16>()));
    (any::<u16>(), enhanced, any::<String>()).prop_map(|(code, enhanced, text)| match enhanced {
        Some(enhanced) => Reply::new(code, enhanced, text),
        None => Reply::plain(code, text),
    })
}

fn progress() -> impl Strategy<Value = Progress> {
    let states = [
        State::Queued,
        State::Delivered,
        State::Failed,
        State::Expired,
        State::Removed,
    ];
    let last =
        (time(), of(text()), reply()).prop_map(|(at, host, reply)| LastReply { at, host, reply });
    let facts = (any::<u32>(), time(), any::<bool>(), any::<bool>(), of(last));
    (proptest::sample::select(states.to_vec()), facts).prop_map(|(state, facts)| {
        let (attempts, not_before, held, noticed, last) = facts;
        Progress {
            state,
            attempts,
            not_before,
            held,
            noticed,
            last,
        }
    })
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let original =
        of(mailbox()).prop_map(|m| m.map_or(ForwardPath::Postmaster, ForwardPath::Mailbox));
    let notify = any::<[bool; 3]>();
    let wishes = (
        of(original),
        of(text()),
        of(notify),
        of(mailbox()),
        any::<bool>(),
        of(reverse_path()),
    );
    (mailbox(), wishes, progress()).prop_map(|(address, wishes, progress)| {
        let (original, orcpt, notify, alias, expansion_owed, reverse_path) = wishes;
        let notify = notify.map(|[success, failure, delay]| Notify {
            success,
            failure,
            delay,
        });
        let plain = Recipient::new(address);
        Recipient {
            original,
            orcpt,
            notify,
            alias,
            expansion_owed,
            reverse_path,
            progress,
            ..plain
        }
    })
}

fn content() -> impl Strategy<Value = ContentFacts> {
    let facts = (any::<u64>(), any::<[bool; 3]>(), any::<u64>());
    facts.prop_map(
        |(size, [eight_bit, utf8_headers, binary], longest_line)| ContentFacts {
            size,
            eight_bit,
            utf8_headers,
            binary,
            longest_line,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let first = (
        reverse_path(),
        time(),
        of(text()),
        of(any::<bool>()),
        any::<[bool; 4]>(),
    );
    let second = (of(text()), text(), text(), text());
    let by = (time(), any::<[bool; 2]>()).prop_map(|(at, [notify, trace])| DeliverBy {
        at,
        mode: if notify {
            ByMode::Notify
        } else {
            ByMode::Return
        },
        trace,
    });
    let times = (of(time()), of(by));
    let third = (times, any::<i8>(), vec(text(), 0..4), content());
    (first, second, third).prop_map(|(first, second, third)| {
        let (reverse_path, arrived, envid, headers, flags) = first;
        let [eight_bit, smtp_utf8, require_tls, tls_optional] = flags;
        let (account, listener, peer, hello) = second;
        let ((release, deliver_by), priority, tags, content) = third;
        Message {
            reverse_path,
            envid,
            ret: headers.map(|only| if only { Ret::Headers } else { Ret::Full }),
            body: if eight_bit {
                BodyType::EightBitMime
            } else {
                BodyType::SevenBit
            },
            smtp_utf8,
            require_tls,
            tls_optional,
            account,
            listener,
            peer,
            hello,
            release,
            deliver_by,
            priority,
            tags,
            ..Message::ours(arrived, content)
        }
    })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (any::<[u8; 16]>(), message(), vec(recipient(), 0..5)).prop_map(|(id, message, recipients)| {
        Envelope {
            id: QueueId::from_bytes(id),
            message,
            recipients,
        }
    })
}

proptest! {
    #[test]
    fn every_field_comes_back(envelope in envelope()) {
        let octets = envelope.encode();
        prop_assert_eq!(Envelope::decode(envelope.id, &octets), Ok(envelope));
    }

    #[test]
    fn any_octets_are_decoded_or_refused(octets in vec(any::<u8>(), 0..300)) {
        let id = QueueId::from_bytes([0; 16]);
        if let Ok(envelope) = Envelope::decode(id, &octets) {
            prop_assert_eq!(Envelope::decode(id, &envelope.encode()), Ok(envelope));
        }
        if let Ok(progress) = Progress::decode(&octets) {
            prop_assert_eq!(Progress::decode(&progress.encode()), Ok(progress));
        }
    }

    #[test]
    fn an_envelope_with_some_octets_changed_is_decoded_or_refused(
        envelope in envelope(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut octets = envelope.encode();
        for (place, octet) in changes {
            *place.get_mut(&mut octets) = octet;
        }
        if let Ok(changed) = Envelope::decode(envelope.id, &octets) {
            prop_assert_eq!(Envelope::decode(envelope.id, &changed.encode()), Ok(changed));
        }
    }

    #[test]
    fn unknown_fields_are_kept_or_refuse_the_whole(
        envelope in envelope(),
        number in 500_u32..1000,
        value in vec(any::<u8>(), 0..100),
    ) {
        let id = envelope.id;
        let mut octets = envelope.encode();
        let field = |tag: u32| {
            let low = u8::try_from(tag & 0x7f).unwrap() | 0x80;
            let mut field = vec![low, u8::try_from(tag >> 7).unwrap()];
            field.push(u8::try_from(value.len()).unwrap());
            field.extend(&value);
            field
        };
        octets.extend(field(number << 1));
        let decoded = Envelope::decode(id, &octets).unwrap();
        prop_assert_ne!(&decoded, &envelope);
        let kept = field(number << 1);
        prop_assert!(decoded.encode().windows(kept.len()).any(|w| w == kept));
        prop_assert_eq!(Envelope::decode(id, &decoded.encode()), Ok(decoded));
        octets.extend(field(number << 1 | 1));
        let refused = Err(DecodeError::UnknownCritical(number << 1 | 1));
        prop_assert_eq!(Envelope::decode(id, &octets), refused);
    }
}
