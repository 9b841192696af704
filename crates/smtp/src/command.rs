//! Command lines (RFC 5321 §4.1.1): verb, argument, parameters.
//!
//! Liberal where RFC 5321 and common practice are: verbs and keywords in any case, blanks at the
//! end of a line, one or more blanks after `FROM:` and `TO:` and between parameters. Strict
//! where doubt would be dangerous: paths need their angle brackets, control octets are refused.
//!
//! Not here: whether a command may come now (`server`), and what a hello name is worth.

use crate::address::{AddressError, Domain, ForwardPath, ReversePath, Utf8, split_path};
use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
use crate::extension::{BodyType, DeliverBy, Hold, Priority, SizeValue, Submitter};
use crate::reply::Reply;

mod xclient;

pub use xclient::{Attribute, Protocol, Xclient};

/// The verb of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// HELO (RFC 5321 §4.1.1.1).
    Helo,
    /// EHLO (RFC 5321 §4.1.1.1).
    Ehlo,
    /// LHLO (RFC 2033 §4.1).
    Lhlo,
    /// MAIL (RFC 5321 §4.1.1.2).
    Mail,
    /// RCPT (RFC 5321 §4.1.1.3).
    Rcpt,
    /// DATA (RFC 5321 §4.1.1.4).
    Data,
    /// RSET (RFC 5321 §4.1.1.5).
    Rset,
    /// VRFY (RFC 5321 §4.1.1.6).
    Vrfy,
    /// EXPN (RFC 5321 §4.1.1.7).
    Expn,
    /// HELP (RFC 5321 §4.1.1.8).
    Help,
    /// NOOP (RFC 5321 §4.1.1.9).
    Noop,
    /// QUIT (RFC 5321 §4.1.1.10).
    Quit,
    /// BDAT (RFC 3030 §2).
    Bdat,
    /// STARTTLS (RFC 3207 §4).
    StartTls,
    /// AUTH (RFC 4954 §4).
    Auth,
    /// XCLIENT (of Postfix).
    Xclient,
    /// A command we know by name and do not implement: 502.
    NotImplemented,
}

/// Verbs that get 502 and not 500: extensions we do not have, and RFC 5321 §F.6.
const NOT_IMPLEMENTED: [&str; 6] = ["ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML"];

const VERBS: [(&str, Verb); 16] = [
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("LHLO", Verb::Lhlo),
    ("QUIT", Verb::Quit),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("HELP", Verb::Help),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("XCLIENT", Verb::Xclient),
];

/// Splits a line (without its CRLF) into verb and argument; the refusal is 500 for what is no
/// command we know, 501 for a known one with control octets or broken UTF-8 in its argument.
pub fn split(line: &[u8]) -> Result<(Verb, &str), Reply> {
    let line = line.trim_ascii_end();
    let end = line
        .iter()
        .position(|octet| *octet == b' ')
        .unwrap_or(line.len());
    let (word, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let known = VERBS
        .iter()
        .find(|(name, _)| is(name))
        .map(|(_, verb)| *verb);
    let not_ours = || {
        NOT_IMPLEMENTED
            .into_iter()
            .any(is)
            .then_some(Verb::NotImplemented)
    };
    let Some(verb) = known.or_else(not_ours) else {
        return Err(Reply::new(500, (5, 5, 2), "Command not recognized"));
    };
    if argument.iter().any(|octet| octet.is_ascii_control()) {
        return Err(syntax("Control characters in argument"));
    }
    let argument = str::from_utf8(argument).map_err(|_| syntax("Argument is not UTF-8"))?;
    Ok((verb, argument.trim_matches(' ')))
}

/// EHLO, HELO or LHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The argument as it came (no control octets; those are refused with 501).
    pub name: Box<str>,
    /// EHLO or LHLO, not HELO.
    pub extended: bool,
    /// Whether the argument is a domain or address literal (RFC 5321 §4.1.1.1). A malformed one
    /// is the driver's to judge (RFC 5321 §4.1.4).
    pub well_formed: bool,
}

impl Hello {
    /// Parses the argument; only an empty one is refused.
    pub fn parse(argument: &str, extended: bool) -> Result<Hello, Reply> {
        if argument.is_empty() {
            return Err(syntax("Say who you are: a domain or an address literal"));
        }
        let well_formed = Domain::parse(argument, Utf8::Refused).is_ok();
        Ok(Hello {
            name: argument.into(),
            extended,
            well_formed,
        })
    }
}

/// Which parameters a command may have; SIZE and BODY are always among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// SMTPUTF8: for MAIL whether it is offered, for RCPT whether the transaction has it.
    pub utf8: Utf8,
    /// DSN is offered (RFC 3461).
    pub dsn: bool,
    /// AUTH is offered (RFC 4954).
    pub auth: bool,
    /// BINARYMIME is offered (RFC 3030 §3).
    pub binary_mime: bool,
    /// REQUIRETLS is offered (RFC 8689).
    pub require_tls: bool,
    /// DELIVERBY is offered (RFC 2852).
    pub deliver_by: bool,
    /// FUTURERELEASE is offered (RFC 4865).
    pub hold: bool,
    /// MT-PRIORITY is offered (RFC 6710).
    pub priority: bool,
}

/// Nothing else is offered.
impl From<Utf8> for Allowed {
    fn from(utf8: Utf8) -> Allowed {
        Allowed {
            utf8,
            dsn: false,
            auth: false,
            binary_mime: false,
            require_tls: false,
            deliver_by: false,
            hold: false,
            priority: false,
        }
    }
}

/// MAIL FROM and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path.
    pub reverse_path: ReversePath,
    /// `SIZE=` (RFC 1870 §6), octets, [`u64::MAX`] for more. At most `Settings::message_size` (a
    /// larger one is refused before the driver sees it).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152 §3, RFC 3030 §3).
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531 §3.4).
    pub smtp_utf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 §4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// `AUTH=` (RFC 4954 §5). Whether to believe it is the driver's matter.
    pub submitter: Option<Submitter>,
    /// `BY=` (RFC 2852 §4).
    pub deliver_by: Option<DeliverBy>,
    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865).
    pub hold: Option<Hold>,
    /// `MT-PRIORITY=` (RFC 6710 §4.1).
    pub priority: Option<Priority>,
    /// `REQUIRETLS` (RFC 8689 §2).
    pub require_tls: bool,
}

impl Mail {
    /// Parses what follows the verb.
    pub fn parse(argument: &str, allowed: impl Into<Allowed>) -> Result<Mail, Reply> {
        let allowed = allowed.into();
        let usage = "Write MAIL FROM:<address>";
        let (path, parameters) = path_argument(argument, "FROM:").ok_or_else(|| syntax(usage))?;
        let reverse_path =
            ReversePath::parse(path, allowed.utf8).map_err(|e| bad_address(e, (5, 1, 7)))?;
        let mut mail = Mail {
            reverse_path,
            size: None,
            body: BodyType::SevenBit,
            smtp_utf8: false,
            ret: None,
            envelope_id: None,
            submitter: None,
            deliver_by: None,
            hold: None,
            priority: None,
            require_tls: false,
        };
        let mut body_seen = false;
        for word in words(parameters) {
            let (keyword, value) = parameter(word)?;
            let known = MailParameter::find(keyword, allowed).ok_or_else(unknown_parameter)?;
            if known == MailParameter::Body {
                once(&mut body_seen)?;
            }
            mail.set(known, value, allowed)?;
        }
        let needs_utf8 = mail.reverse_path.mailbox().is_some_and(|m| m.needs_utf8());
        if needs_utf8 && !mail.smtp_utf8 {
            return Err(bad_address(AddressError::Utf8, (5, 6, 7)));
        }
        Ok(mail)
    }

    fn set(
        &mut self,
        parameter: MailParameter,
        value: Option<&str>,
        allowed: Allowed,
    ) -> Result<(), Reply> {
        match parameter {
            MailParameter::Size => {
                let size = value.and_then(SizeValue::parse).map(SizeValue::octets);
                set_once(&mut self.size, size, "Bad SIZE value")
            }
            MailParameter::Body => {
                let known = |body: &BodyType| allowed.binary_mime || *body != BodyType::BinaryMime;
                let body = value.and_then(BodyType::parse).filter(known);
                self.body = body.ok_or_else(|| syntax("Bad BODY value"))?;
                Ok(())
            }
            MailParameter::SmtpUtf8 => {
                set_flag(&mut self.smtp_utf8, value, "SMTPUTF8 takes no value")
            }
            MailParameter::Ret => {
                set_once(&mut self.ret, value.and_then(Ret::parse), "Bad RET value")
            }
            MailParameter::EnvelopeId => {
                let id = value.and_then(EnvelopeId::parse);
                set_once(&mut self.envelope_id, id, "Bad ENVID value")
            }
            MailParameter::Submitter => {
                let submitter = value.and_then(Submitter::parse);
                set_once(&mut self.submitter, submitter, "Bad AUTH value")
            }
            MailParameter::DeliverBy => {
                let by = value.and_then(DeliverBy::parse);
                set_once(&mut self.deliver_by, by, "Bad BY value")
            }
            MailParameter::HoldFor | MailParameter::HoldUntil if self.hold.is_some() => {
                Err(syntax("HOLDFOR and HOLDUNTIL exclude each other"))
            }
            MailParameter::HoldFor => {
                let hold = value.and_then(Hold::parse_for);
                set_once(&mut self.hold, hold, "Bad HOLDFOR value")
            }
            MailParameter::HoldUntil => {
                let hold = value.and_then(Hold::parse_until);
                set_once(&mut self.hold, hold, "Bad HOLDUNTIL value")
            }
            MailParameter::Priority => {
                let priority = value.and_then(Priority::parse);
                set_once(&mut self.priority, priority, "Bad MT-PRIORITY value")
            }
            MailParameter::RequireTls => {
                set_flag(&mut self.require_tls, value, "REQUIRETLS takes no value")
            }
        }
    }
}

/// A parameter of MAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MailParameter {
    Size,
    Body,
    SmtpUtf8,
    Ret,
    EnvelopeId,
    Submitter,
    DeliverBy,
    HoldFor,
    HoldUntil,
    Priority,
    RequireTls,
}

impl MailParameter {
    /// The parameter of this keyword, if it may be given.
    fn find(keyword: &str, allowed: Allowed) -> Option<MailParameter> {
        let known = [
            ("SIZE", true, MailParameter::Size),
            ("BODY", true, MailParameter::Body),
            (
                "SMTPUTF8",
                allowed.utf8 == Utf8::Allowed,
                MailParameter::SmtpUtf8,
            ),
            ("RET", allowed.dsn, MailParameter::Ret),
            ("ENVID", allowed.dsn, MailParameter::EnvelopeId),
            ("AUTH", allowed.auth, MailParameter::Submitter),
            ("BY", allowed.deliver_by, MailParameter::DeliverBy),
            ("HOLDFOR", allowed.hold, MailParameter::HoldFor),
            ("HOLDUNTIL", allowed.hold, MailParameter::HoldUntil),
            ("MT-PRIORITY", allowed.priority, MailParameter::Priority),
            ("REQUIRETLS", allowed.require_tls, MailParameter::RequireTls),
        ];
        known
            .into_iter()
            .find(|(name, ..)| keyword.eq_ignore_ascii_case(name))
            .and_then(|(_, allowed, parameter)| allowed.then_some(parameter))
    }
}

/// RCPT TO and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The forward-path.
    pub forward_path: ForwardPath,
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub original_recipient: Option<OriginalRecipient>,
}

impl Rcpt {
    /// Parses what follows the verb.
    pub fn parse(argument: &str, allowed: impl Into<Allowed>) -> Result<Rcpt, Reply> {
        let allowed = allowed.into();
        let usage = "Write RCPT TO:<address>";
        let (path, parameters) = path_argument(argument, "TO:").ok_or_else(|| syntax(usage))?;
        let forward_path = ForwardPath::parse(path, allowed.utf8);
        let mut rcpt = Rcpt {
            forward_path: forward_path.map_err(|e| bad_address(e, (5, 1, 3)))?,
            notify: None,
            original_recipient: None,
        };
        for word in words(parameters) {
            let (keyword, value) = parameter(word)?;
            if keyword.eq_ignore_ascii_case("NOTIFY") && allowed.dsn {
                let notify = value.and_then(Notify::parse);
                set_once(&mut rcpt.notify, notify, "Bad NOTIFY value")?;
            } else if keyword.eq_ignore_ascii_case("ORCPT") && allowed.dsn {
                let original = value.and_then(|v| OriginalRecipient::parse(v, allowed.utf8));
                set_once(&mut rcpt.original_recipient, original, "Bad ORCPT value")?;
            } else {
                return Err(unknown_parameter());
            }
        }
        Ok(rcpt)
    }
}

/// The argument of BDAT (RFC 3030 §2): size, [`u64::MAX`] for more, and whether it is the last.
pub(crate) fn parse_bdat(argument: &str) -> Option<(u64, bool)> {
    let mut words = words(argument);
    let size = SizeValue::parse(words.next()?)?.octets();
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some((size, last))
}

fn once(seen: &mut bool) -> Result<(), Reply> {
    if std::mem::replace(seen, true) {
        Err(syntax("Parameter given twice"))
    } else {
        Ok(())
    }
}

/// Sets a parameter whose value was parsed.
fn set_once<T>(to: &mut Option<T>, parsed: Option<T>, wrong: &'static str) -> Result<(), Reply> {
    once(&mut to.is_some())?;
    *to = Some(parsed.ok_or_else(|| syntax(wrong))?);
    Ok(())
}

/// Sets a parameter that has no value.
fn set_flag(to: &mut bool, value: Option<&str>, wrong: &'static str) -> Result<(), Reply> {
    once(to)?;
    match value {
        None => Ok(()),
        Some(_) => Err(syntax(wrong)),
    }
}

/// `FROM:<path> parameters`, split behind the path; blanks after the colon are common practice.
fn path_argument<'a>(argument: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let (start, rest) = argument.split_at_checked(prefix.len())?;
    if !start.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let (path, parameters) = split_path(rest.trim_start_matches(' '))?;
    (parameters.is_empty() || parameters.starts_with(' ')).then_some((path, parameters))
}

pub(crate) fn words(parameters: &str) -> impl Iterator<Item = &str> {
    parameters.split(' ').filter(|word| !word.is_empty())
}

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2).
fn parameter(word: &str) -> Result<(&str, Option<&str>), Reply> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let keyword_ok = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let value_ok = value.is_none_or(|value| !value.is_empty() && !value.contains('='));
    if keyword_ok && value_ok {
        Ok((keyword, value))
    } else {
        Err(syntax("Malformed parameter"))
    }
}

/// 501 5.5.4: the verb is known, its argument is wrong.
pub(crate) fn syntax(text: &'static str) -> Reply {
    Reply::new(501, (5, 5, 4), text)
}

/// RFC 5321 §4.1.1.11.
pub(crate) fn unknown_parameter() -> Reply {
    Reply::new(
        555,
        (5, 5, 4),
        "Parameter not recognized or not implemented",
    )
}

/// 501 for what is no address or too long (RFC 5321 §4.5.3.1.10), 553 for one that SMTPUTF8 would
/// be needed for (RFC 6531 §3.5).
pub(crate) fn bad_address(error: AddressError, enhanced: (u8, u16, u16)) -> Reply {
    match error {
        AddressError::Utf8 => Reply::new(553, (5, 6, 7), "Non-ASCII address without SMTPUTF8"),
        AddressError::Syntax => Reply::new(501, enhanced, "Malformed address"),
        AddressError::LocalPartTooLong => Reply::new(501, enhanced, "Local part too long"),
        AddressError::DomainTooLong => Reply::new(501, enhanced, "Domain too long"),
        AddressError::PathTooLong => Reply::new(501, enhanced, "Path too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_known_in_any_case_and_blanks_around_arguments_are_dropped() {
        assert_eq!(split(b"noop"), Ok((Verb::Noop, "")));
        assert_eq!(split(b"QuIt  \t "), Ok((Verb::Quit, "")));
        assert_eq!(split(b"EHLO   x.example "), Ok((Verb::Ehlo, "x.example")));
        assert_eq!(split(b"etrn x"), Ok((Verb::NotImplemented, "x")));
        for unknown in [
            "",
            " ",
            "NOOPX",
            " NOOP",
            "NO\0OP",
            "MAIL\tFROM:<>",
            "\u{e9}",
        ] {
            assert_eq!(
                split(unknown.as_bytes()).unwrap_err().code(),
                500,
                "{unknown:?}"
            );
        }
        for bad in [
            &b"EHLO a\0b"[..],
            b"HELO a\x07",
            b"NOOP \x7f",
            b"EHLO a\rb",
            b"EHLO \xff",
        ] {
            assert_eq!(split(bad).unwrap_err().code(), 501, "{bad:?}");
        }
    }

    #[test]
    fn mail_takes_its_parameters_in_any_order_and_case() {
        let mail = Mail::parse("from: <a@b>  Body=8bitMIME size=12", Utf8::Refused).unwrap();
        assert_eq!((mail.size, mail.body), (Some(12), BodyType::EightBitMime));
        assert_eq!(mail.reverse_path.to_string(), "<a@b>");
        let mail = Mail::parse("FROM:<ü@b> SMTPUTF8", Utf8::Allowed).unwrap();
        assert!(mail.smtp_utf8);
    }

    #[test]
    fn wrong_arguments_get_the_reply_their_error_deserves() {
        for (argument, code) in [
            ("", 501),
            ("FROM", 501),
            ("FROM:", 501),
            ("FROM:a@b", 501),
            ("FROM:<a@b", 501),
            ("FROM :<a@b>", 501),
            ("TO:<a@b>", 501),
            ("FROM:<a@b>SIZE=1", 501),
            ("FROM:<a b@c>", 501),
            ("FROM:<a@b> SIZE", 501),
            ("FROM:<a@b> SIZE=", 501),
            ("FROM:<a@b> SIZE=x", 501),
            ("FROM:<a@b> SIZE=-1", 501),
            ("FROM:<a@b> SIZE=1 SIZE=1", 501),
            ("FROM:<a@b> SIZE=100000000000000000000", 501),
            ("FROM:<a@b> BODY=BINARYMIME", 501),
            ("FROM:<a@b> BODY", 501),
            ("FROM:<a@b> =1", 501),
            ("FROM:<a@b> X=1=2", 501),
            ("FROM:<a@b> X=1", 555),
            ("FROM:<a@b> SMTPUTF8", 555),
            ("FROM:<a@b> RET=HDRS", 555),
            ("FROM:<ü@b>", 553),
        ] {
            let refusal = Mail::parse(argument, Utf8::Refused).unwrap_err();
            assert_eq!(refusal.code(), code, "{argument}");
        }
        assert_eq!(
            Mail::parse("FROM:<ü@b>", Utf8::Allowed).unwrap_err().code(),
            553
        );
        assert_eq!(
            Mail::parse("FROM:<a@b> SMTPUTF8=1", Utf8::Allowed)
                .unwrap_err()
                .code(),
            501
        );
        assert_eq!(
            Rcpt::parse("TO:<a@b> NOTIFY=NEVER", Utf8::Refused)
                .unwrap_err()
                .code(),
            555
        );
    }

    #[test]
    fn what_is_offered_is_read_and_what_is_not_is_unknown() {
        let all = Allowed {
            utf8: Utf8::Allowed,
            dsn: true,
            auth: true,
            binary_mime: true,
            require_tls: true,
            deliver_by: true,
            hold: true,
            priority: true,
        };
        let mail = Mail::parse(
            "FROM:<a@b> body=binarymime by=-5;n holdfor=60 mt-priority=-3 requiretls AUTH=<>",
            all,
        )
        .unwrap();
        assert_eq!(mail.body, BodyType::BinaryMime);
        assert_eq!(mail.deliver_by.map(|by| by.by_time_s), Some(-5));
        assert_eq!(mail.hold, Some(Hold::For(60)));
        assert_eq!(mail.priority, Priority::new(-3));
        assert!(mail.require_tls && mail.submitter.is_some());
        for (parameters, code) in [
            ("BY=5;R", 555),
            ("HOLDFOR=5", 555),
            ("HOLDUNTIL=2026-01-01T00:00:00Z", 555),
            ("MT-PRIORITY=5", 555),
            ("REQUIRETLS", 555),
            ("AUTH=<>", 555),
            ("BODY=BINARYMIME", 501),
        ] {
            let argument = format!("FROM:<a@b> {parameters}");
            assert!(Mail::parse(&argument, all).is_ok(), "{parameters}");
            let refusal = Mail::parse(&argument, Utf8::Refused).unwrap_err();
            assert_eq!(refusal.code(), code, "{parameters}");
        }
        for bad in [
            "BY",
            "BY=0;R",
            "BY=1;R BY=1;R",
            "HOLDFOR=0",
            "HOLDFOR=1 HOLDFOR=1",
            "HOLDFOR=1 HOLDUNTIL=2026-01-01T00:00:00Z",
            "HOLDUNTIL=tomorrow",
            "MT-PRIORITY=10",
            "MT-PRIORITY=1 MT-PRIORITY=1",
            "REQUIRETLS=1",
            "REQUIRETLS REQUIRETLS",
            "AUTH=+",
            "BODY=7BIT BODY=7BIT",
        ] {
            let refusal = Mail::parse(&format!("FROM:<a@b> {bad}"), all).unwrap_err();
            assert_eq!(refusal.code(), 501, "{bad}");
        }
    }

    #[test]
    fn a_size_of_twenty_digits_does_not_overflow() {
        let mail = Mail::parse("FROM:<> SIZE=99999999999999999999", Utf8::Refused).unwrap();
        assert_eq!(mail.size, Some(u64::MAX));
    }
}
