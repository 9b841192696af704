//! The envelope as fields; `docs/spool.md` has the table of tags.
//!
//! Text is stored in its wire form. A field that is unknown and not critical is kept and written
//! again. It does **not** check what SMTP would: an address that was accepted once is accepted
//! here.

use std::fmt;

use posthaste_smtp::address::{AddressError, ForwardPath, Mailbox, ReversePath, Utf8};
use posthaste_smtp::extension::BodyType;
use posthaste_smtp::reply::Reply;
use posthaste_world::Timestamp;

use super::tlv::{Fields, Malformed, Writer, critical, number};
use super::{
    ByMode, ContentFacts, DeliverBy, Envelope, LastReply, Message, Notify, Progress,
    RECIPIENTS_MAX, Recipient, Ret, State, Unknown, VALUE_MAX,
};
use crate::id::QueueId;

/// Tags of a message. The lowest bit says critical.
mod message {
    pub(super) const REVERSE_PATH: u32 = 1 << 1 | 1;
    pub(super) const ARRIVED: u32 = 2 << 1 | 1;
    pub(super) const RECIPIENT: u32 = 3 << 1 | 1;
    pub(super) const ENVID: u32 = 4 << 1;
    pub(super) const RET: u32 = 5 << 1;
    pub(super) const EIGHT_BIT_MIME: u32 = 6 << 1 | 1;
    pub(super) const SMTP_UTF8: u32 = 7 << 1 | 1;
    pub(super) const REQUIRE_TLS: u32 = 8 << 1 | 1;
    pub(super) const ACCOUNT: u32 = 9 << 1;
    pub(super) const LISTENER: u32 = 10 << 1;
    pub(super) const PEER: u32 = 11 << 1;
    pub(super) const HELLO: u32 = 12 << 1;
    pub(super) const DELIVER_BY: u32 = 13 << 1;
    pub(super) const PRIORITY: u32 = 14 << 1;
    pub(super) const TAG: u32 = 15 << 1;
    pub(super) const SIZE: u32 = 16 << 1;
    pub(super) const CONTENT_FLAGS: u32 = 17 << 1;
    pub(super) const LONGEST_LINE: u32 = 18 << 1;
    pub(super) const BINARY: u32 = 19 << 1 | 1;
    pub(super) const TLS_OPTIONAL: u32 = 20 << 1;
    pub(super) const RELEASE: u32 = 21 << 1;
}

/// Tags of a recipient.
mod recipient {
    pub(super) const ADDRESS: u32 = 1 << 1 | 1;
    pub(super) const ORIGINAL: u32 = 2 << 1;
    pub(super) const ORCPT: u32 = 3 << 1;
    pub(super) const NOTIFY: u32 = 4 << 1;
    pub(super) const ALIAS: u32 = 5 << 1;
    pub(super) const REVERSE_PATH: u32 = 6 << 1 | 1;
    pub(super) const PROGRESS: u32 = 7 << 1 | 1;
    pub(super) const EXPANSION_OWED: u32 = 8 << 1;
}

/// Tags of a recipient's progress.
mod progress {
    pub(super) const STATE: u32 = 1 << 1 | 1;
    pub(super) const ATTEMPTS: u32 = 2 << 1;
    pub(super) const NOT_BEFORE: u32 = 3 << 1;
    pub(super) const HELD: u32 = 4 << 1 | 1;
    pub(super) const NOTICED: u32 = 5 << 1;
    pub(super) const LAST_AT: u32 = 6 << 1;
    pub(super) const LAST_HOST: u32 = 7 << 1;
    pub(super) const LAST_CODE: u32 = 8 << 1;
    pub(super) const LAST_ENHANCED: u32 = 9 << 1;
    pub(super) const LAST_TEXT: u32 = 10 << 1;
}

/// Why octets are no envelope that this version can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// They do not follow the format, or break a limit.
    Malformed,
    /// A field that must be understood is not known: a newer version wrote it.
    UnknownCritical(u32),
    /// A field that must be there is not.
    Missing(u32),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Malformed => f.write_str("malformed fields"),
            DecodeError::UnknownCritical(tag) => write!(f, "unknown critical field {tag}"),
            DecodeError::Missing(tag) => write!(f, "field {tag} is missing"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<Malformed> for DecodeError {
    fn from(_: Malformed) -> Self {
        DecodeError::Malformed
    }
}

impl From<AddressError> for DecodeError {
    fn from(_: AddressError) -> Self {
        DecodeError::Malformed
    }
}

impl Envelope {
    /// Its fields, without the id, which stands in the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let m = &self.message;
        w.bytes(message::REVERSE_PATH, m.reverse_path.to_string().as_bytes());
        w.number(message::ARRIVED, m.arrived.as_millis());
        if let Some(envid) = &m.envid {
            w.bytes(message::ENVID, envid.as_bytes());
        }
        if let Some(ret) = m.ret {
            w.number(message::RET, u64::from(ret == Ret::Headers));
        }
        w.flag(message::EIGHT_BIT_MIME, m.body == BodyType::EightBitMime);
        w.flag(message::SMTP_UTF8, m.smtp_utf8);
        w.flag(message::REQUIRE_TLS, m.require_tls);
        if let Some(account) = &m.account {
            w.bytes(message::ACCOUNT, account.as_bytes());
        }
        w.text(message::LISTENER, &m.listener);
        w.text(message::PEER, &m.peer);
        w.text(message::HELLO, &m.hello);
        w.flag(message::TLS_OPTIONAL, m.tls_optional);
        if let Some(release) = m.release {
            w.number(message::RELEASE, release.as_millis());
        }
        if let Some(by) = m.deliver_by {
            let mut value = Writer::new();
            value.varint(by.at.as_millis());
            value.varint(u64::from(by.mode == ByMode::Notify) | u64::from(by.trace) << 1);
            w.nested(message::DELIVER_BY, &value);
        }
        if m.priority != 0 {
            w.bytes(message::PRIORITY, &m.priority.to_le_bytes());
        }
        for tag in &m.tags {
            w.bytes(message::TAG, tag.as_bytes());
        }
        encode_content(&mut w, &m.content);
        for (tag, value) in &m.unknown.0 {
            w.bytes(*tag, value);
        }
        for recipient in &self.recipients {
            w.nested(message::RECIPIENT, &encode_recipient(recipient));
        }
        w.into_bytes()
    }

    /// Reads what [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(id: QueueId, octets: &[u8]) -> Result<Envelope, DecodeError> {
        let mut m = Message::ours(Timestamp::EPOCH, ContentFacts::default());
        let (mut reverse_path, mut arrived) = (None, None);
        let mut recipients = Vec::new();
        let mut fields = Fields::new(octets);
        while let Some(field) = fields.field() {
            let (tag, value) = field?;
            match tag {
                message::REVERSE_PATH => {
                    reverse_path = Some(ReversePath::parse(text(value)?, Utf8::Allowed)?);
                }
                message::ARRIVED => arrived = Some(time(value)?),
                message::RECIPIENT if recipients.len() >= RECIPIENTS_MAX => {
                    return Err(DecodeError::Malformed);
                }
                message::RECIPIENT => recipients.push(decode_recipient(value)?),
                _ => decode_message(&mut m, tag, value)?,
            }
        }
        m.reverse_path = reverse_path.ok_or(DecodeError::Missing(message::REVERSE_PATH))?;
        m.arrived = arrived.ok_or(DecodeError::Missing(message::ARRIVED))?;
        Ok(Envelope {
            id,
            message: m,
            recipients,
        })
    }

    /// Whether it keeps the limits of this format.
    #[must_use]
    pub fn fits(&self) -> bool {
        let m = &self.message;
        let texts = m
            .envid
            .iter()
            .chain(&m.account)
            .chain([&m.listener, &m.peer, &m.hello]);
        let own = texts.chain(&m.tags).all(|text| text.len() <= VALUE_MAX);
        let theirs = self.recipients.iter().all(|r| {
            let orcpt = r.orcpt.as_ref().is_none_or(|text| text.len() <= VALUE_MAX);
            orcpt && r.progress.fits()
        });
        own && theirs && (1..=RECIPIENTS_MAX).contains(&self.recipients.len())
    }
}

impl Progress {
    /// Its fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_progress(self).into_bytes()
    }

    /// Reads what [`Progress::encode`] wrote.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(octets: &[u8]) -> Result<Progress, DecodeError> {
        decode_progress(octets)
    }

    pub(crate) fn fits(&self) -> bool {
        self.last
            .as_ref()
            .is_none_or(|last| last.reply.text().len() <= VALUE_MAX)
    }
}

fn encode_content(w: &mut Writer, content: &ContentFacts) {
    w.number(message::SIZE, content.size);
    let flags = u64::from(content.eight_bit) | u64::from(content.utf8_headers) << 1;
    if flags != 0 {
        w.number(message::CONTENT_FLAGS, flags);
    }
    w.number(message::LONGEST_LINE, content.longest_line);
    w.flag(message::BINARY, content.binary);
}

fn decode_message(m: &mut Message, tag: u32, value: &[u8]) -> Result<(), DecodeError> {
    match tag {
        message::ENVID => m.envid = Some(text(value)?.into()),
        message::RET => {
            m.ret = Some(if num(value)? == 1 {
                Ret::Headers
            } else {
                Ret::Full
            })
        }
        message::EIGHT_BIT_MIME => m.body = BodyType::EightBitMime,
        message::SMTP_UTF8 => m.smtp_utf8 = true,
        message::REQUIRE_TLS => m.require_tls = true,
        message::ACCOUNT => m.account = Some(text(value)?.into()),
        message::LISTENER => m.listener = text(value)?.into(),
        message::PEER => m.peer = text(value)?.into(),
        message::HELLO => m.hello = text(value)?.into(),
        message::TLS_OPTIONAL => m.tls_optional = true,
        message::RELEASE => m.release = Some(time(value)?),
        message::DELIVER_BY => m.deliver_by = Some(deliver_by(value)?),
        message::BINARY => m.content.binary = true,
        message::PRIORITY => {
            let [octet] = value else {
                return Err(DecodeError::Malformed);
            };
            m.priority = i8::from_le_bytes([*octet]);
        }
        message::TAG => m.tags.push(text(value)?.into()),
        message::SIZE => m.content.size = num(value)?,
        message::CONTENT_FLAGS => {
            let flags = num(value)?;
            m.content.eight_bit = flags & 1 != 0;
            m.content.utf8_headers = flags & 2 != 0;
        }
        message::LONGEST_LINE => m.content.longest_line = num(value)?,
        _ => keep(&mut m.unknown, tag, value)?,
    }
    Ok(())
}

fn deliver_by(value: &[u8]) -> Result<DeliverBy, DecodeError> {
    let mut numbers = Fields::new(value);
    let at = numbers.varint().ok_or(DecodeError::Malformed)?;
    // A version before this one wrote the time alone.
    let flags = numbers.varint().unwrap_or(0);
    Ok(DeliverBy {
        at: Timestamp::from_millis(at),
        mode: match flags & 1 {
            0 => ByMode::Return,
            _ => ByMode::Notify,
        },
        trace: flags & 2 != 0,
    })
}

fn encode_recipient(r: &Recipient) -> Writer {
    let mut w = Writer::new();
    w.bytes(recipient::ADDRESS, r.address.to_string().as_bytes());
    if let Some(original) = &r.original {
        w.bytes(recipient::ORIGINAL, original.to_string().as_bytes());
    }
    if let Some(orcpt) = &r.orcpt {
        w.bytes(recipient::ORCPT, orcpt.as_bytes());
    }
    if let Some(notify) = r.notify {
        let success = u64::from(notify.success);
        let flags = success | u64::from(notify.failure) << 1 | u64::from(notify.delay) << 2;
        w.number(recipient::NOTIFY, flags);
    }
    if let Some(alias) = &r.alias {
        w.bytes(recipient::ALIAS, alias.to_string().as_bytes());
    }
    w.flag(recipient::EXPANSION_OWED, r.expansion_owed);
    if let Some(own) = &r.reverse_path {
        w.bytes(recipient::REVERSE_PATH, own.to_string().as_bytes());
    }
    if r.progress != Progress::default() {
        w.nested(recipient::PROGRESS, &encode_progress(&r.progress));
    }
    for (tag, value) in &r.unknown.0 {
        w.bytes(*tag, value);
    }
    w
}

fn decode_recipient(octets: &[u8]) -> Result<Recipient, DecodeError> {
    let mut address = None;
    let (mut original, mut orcpt, mut notify) = (None, None, None);
    let (mut alias, mut expansion_owed, mut reverse_path) = (None, false, None);
    let mut progress = Progress::default();
    let mut unknown = Unknown::default();
    let mut fields = Fields::new(octets);
    while let Some(field) = fields.field() {
        let (tag, value) = field?;
        match tag {
            recipient::ADDRESS => address = Some(Mailbox::parse(text(value)?, Utf8::Allowed)?),
            recipient::ORIGINAL => {
                original = Some(ForwardPath::parse(text(value)?, Utf8::Allowed)?);
            }
            recipient::ORCPT => orcpt = Some(text(value)?.into()),
            recipient::NOTIFY => {
                let flags = num(value)?;
                let [success, failure, delay] = [1, 2, 4].map(|bit| flags & bit != 0);
                notify = Some(Notify {
                    success,
                    failure,
                    delay,
                });
            }
            recipient::ALIAS => alias = Some(Mailbox::parse(text(value)?, Utf8::Allowed)?),
            recipient::EXPANSION_OWED => expansion_owed = true,
            recipient::REVERSE_PATH => {
                reverse_path = Some(ReversePath::parse(text(value)?, Utf8::Allowed)?);
            }
            recipient::PROGRESS => progress = decode_progress(value)?,
            _ => keep(&mut unknown, tag, value)?,
        }
    }
    let address = address.ok_or(DecodeError::Missing(recipient::ADDRESS))?;
    Ok(Recipient {
        address,
        original,
        orcpt,
        notify,
        alias,
        expansion_owed,
        reverse_path,
        progress,
        unknown,
    })
}

fn encode_progress(p: &Progress) -> Writer {
    let mut w = Writer::new();
    let state = match p.state {
        State::Queued => 0,
        State::Delivered => 1,
        State::Failed => 2,
        State::Expired => 3,
        State::Removed => 4,
    };
    w.number(progress::STATE, state);
    w.number(progress::ATTEMPTS, p.attempts.into());
    w.number(progress::NOT_BEFORE, p.not_before.as_millis());
    w.flag(progress::HELD, p.held);
    w.flag(progress::NOTICED, p.noticed);
    if let Some(last) = &p.last {
        w.number(progress::LAST_AT, last.at.as_millis());
        if let Some(host) = &last.host {
            w.bytes(progress::LAST_HOST, host.as_bytes());
        }
        w.number(progress::LAST_CODE, last.reply.code().into());
        if let Some(e) = last.reply.enhanced() {
            let mut three = Writer::new();
            three.varint(e.class.into());
            three.varint(e.subject.into());
            three.varint(e.detail.into());
            w.nested(progress::LAST_ENHANCED, &three);
        }
        w.bytes(progress::LAST_TEXT, last.reply.text().as_bytes());
    }
    w
}

fn decode_progress(octets: &[u8]) -> Result<Progress, DecodeError> {
    let mut p = Progress::default();
    let (mut at, mut host) = (Timestamp::EPOCH, None);
    let (mut code, mut enhanced, mut said) = (None, None, "");
    let mut fields = Fields::new(octets);
    while let Some(field) = fields.field() {
        let (tag, value) = field?;
        match tag {
            progress::STATE => p.state = state(num(value)?)?,
            progress::ATTEMPTS => p.attempts = small(value)?,
            progress::NOT_BEFORE => p.not_before = time(value)?,
            progress::HELD => p.held = true,
            progress::NOTICED => p.noticed = true,
            progress::LAST_AT => at = time(value)?,
            progress::LAST_HOST => host = Some(text(value)?.into()),
            progress::LAST_CODE => code = Some(small(value)?),
            progress::LAST_ENHANCED => enhanced = Some(enhanced_code(value)?),
            progress::LAST_TEXT => said = text(value)?,
            _ if critical(tag) => return Err(DecodeError::UnknownCritical(tag)),
            // Progress is replaced as a whole with each outcome: there is nothing to keep.
            _ => {}
        }
    }
    if let Some(code) = code {
        let reply = match enhanced {
            Some(enhanced) => Reply::new(code, enhanced, said.to_owned()),
            None => Reply::plain(code, said.to_owned()),
        };
        p.last = Some(LastReply { at, host, reply });
    }
    Ok(p)
}

fn state(n: u64) -> Result<State, DecodeError> {
    Ok(match n {
        0 => State::Queued,
        1 => State::Delivered,
        2 => State::Failed,
        3 => State::Expired,
        4 => State::Removed,
        _ => return Err(DecodeError::Malformed),
    })
}

fn enhanced_code(value: &[u8]) -> Result<(u8, u16, u16), DecodeError> {
    let mut numbers = Fields::new(value);
    let mut next = || numbers.varint().and_then(|n| u16::try_from(n).ok());
    let code = next().zip(next()).zip(next());
    let ((class, subject), detail) = code.ok_or(DecodeError::Malformed)?;
    Ok((
        u8::try_from(class).map_err(|_| DecodeError::Malformed)?,
        subject,
        detail,
    ))
}

fn keep(unknown: &mut Unknown, tag: u32, value: &[u8]) -> Result<(), DecodeError> {
    if critical(tag) {
        return Err(DecodeError::UnknownCritical(tag));
    }
    unknown.0.push((tag, value.into()));
    Ok(())
}

fn text(value: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(value).map_err(|_| DecodeError::Malformed)
}

fn num(value: &[u8]) -> Result<u64, DecodeError> {
    number(value).ok_or(DecodeError::Malformed)
}

fn small<T: TryFrom<u64>>(value: &[u8]) -> Result<T, DecodeError> {
    T::try_from(num(value)?).map_err(|_| DecodeError::Malformed)
}

fn time(value: &[u8]) -> Result<Timestamp, DecodeError> {
    num(value).map(Timestamp::from_millis)
}
