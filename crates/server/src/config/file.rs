//! The configuration as written: the only list of options.
//!
//! Each option is defined once here, with its type, default and documentation. The parser, the
//! "unknown key" answers and `docs/reference/config.md` all come from this list. What the values
//! mean, and which of them do not go together, is decided in `meaning`.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::Source;
use super::network::Network;
use super::value::Fallback::{Absent, Is, Required};
use super::value::{Count, Key, Many, Reader, Section, Setting, Size, Tables, Value};

/// Longest configuration file, in octets.
pub const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Defines a section: the struct as written, and its list of keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident $header:literal {
            $( $(#[doc = $doc:literal])* $key:ident: $kind:ty = $default:expr; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: Option<Setting<$kind>>, )*
        }

        impl $name {
            const ABOUT: Section = Section {
                header: $header,
                about: &[$($about),*],
                keys: &[$( Key {
                    name: stringify!($key),
                    kind: <$kind as Value>::KIND,
                    default: $default,
                    about: &[$($doc),*],
                    section: <$kind as Value>::SECTION,
                } ),*],
            };

            fn of(table: &DeTable<'_>, header: &Range<usize>, reader: &mut Reader<'_>) -> Self {
                reader.unknown_keys(table, &Self::ABOUT);
                let mut keys = Self::ABOUT.keys.iter();
                // The keys are listed in the order of the fields.
                $( let $key = keys.next().and_then(|k| reader.setting(table, header, k)); )*
                Self { $($key),* }
            }
        }

        impl Value for $name {
            const KIND: &'static str = concat!("a section ", $header, " with its keys below it");
            const SECTION: Option<Section> = Some(Self::ABOUT);

            fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> Option<Self> {
                let header = reader.span(value);
                match value.get_ref() {
                    DeValue::Table(table) => Some(Self::of(table, &header, reader)),
                    _ => reader.mistyped(value, Self::KIND),
                }
            }
        }
    };
}

section! {
    /// Who this server is, and what it keeps where. These keys stand at the top of the file, before
    /// the first section.
    File "" {
        /// Our name, in the banner, in EHLO and in `Received:` fields. It should resolve to this
        /// machine, and this machine's address should resolve to it.
        hostname: String = Required("\"mx.example.org\"");
        /// Folder of the spool, state, keys and the control socket.
        data_dir: String = Is("\"/var/lib/posthaste\"");
        /// Who gets the mail for `postmaster` of this host and of every domain that has no such
        /// mailbox or alias. That mail is always accepted (RFC 5321 §4.5.1).
        postmaster: String = Absent("that mail is held in the queue, and `check` warns");
        /// User to become after binding the ports, when started as root.
        user: String = Absent("`posthaste` where there is such a user; else root, with a warning");
        /// Where to listen, and what for. At least one.
        listener: Tables<Listener> = Is("[]");
        /// The certificates that are served.
        tls: Tls = Is("{}");
        /// Who may authenticate, where a listener serves `submission`.
        accounts: Accounts = Is("{}");
        /// How names are looked up.
        dns: Dns = Is("{}");
        /// What one message, one connection and one address may cost.
        limits: Limits = Is("{}");
        /// Who really sent a message: what is found out about mail from other servers, and what is
        /// done with mail that nobody stands behind.
        dmarc: Dmarc = Is("{}");
        /// The keys that sign our mail.
        dkim: Dkim = Is("{}");
        /// The domains whose mail we are responsible for. Recipients that do not exist are refused
        /// while the peer waits. A domain of ours always beats a route.
        domain: Tables<Domain> = Is("[]");
        /// Who may send to domains that are not ours.
        relay: Relay = Is("{}");
        /// Where mail for domains that are not ours goes. The first route that matches is used;
        /// what matches none goes by MX. A route never allows anybody to relay.
        route: Tables<Route> = Is("[]");
        /// When deliveries are tried again, and when they are given up.
        retry: Retry = Is("{}");
    }
}

section! {
    /// Where to listen, and what for. At least one.
    Listener "[[listener]]" {
        /// One or several addresses with ports. IPv6 sockets take IPv6 only, so `[::]:25` stands
        /// beside `0.0.0.0:25`. Port 0 takes a free port.
        address: Many<String> = Required("\"0.0.0.0:25\"");
        /// What is served: `mx` takes mail from other servers for our domains, and from the relay
        /// networks for everybody, and never offers AUTH. `submission` takes mail from our users,
        /// for everybody, and only after AUTH (RFC 6409). `lmtp` takes mail from a server on this
        /// machine for our domains alone, over LMTP: it listens on loopback or on a Unix socket
        /// (`unix:/path`), in clear, and never relays.
        service: String = Required("\"mx\"");
        /// `starttls`: the peer may ask for TLS, and other servers do. `implicit`: TLS from the
        /// first octet, as on port 465. `none`: in clear.
        tls: String = Is("\"starttls\"");
        /// Networks of proxies that name their client with a PROXY header, version 1 or 2. From
        /// them the header is required; whoever else sends one is a client that speaks no SMTP.
        /// Name only the proxies themselves: who is in here can come as any address.
        proxy_protocol_from: Many<Network> = Is("[]");
        /// Networks of hosts that may say with XCLIENT for whom they speak, as proxies and filters
        /// do that understand SMTP. They can come as any address, and on a listener for submission
        /// as any account.
        xclient_from: Many<Network> = Is("[]");
        /// Whether a listener for `submission` takes passwords that others could read on the way:
        /// possible only where all its addresses are of loopback.
        auth_without_tls: bool = Is("false");
    }
}

section! {
    /// The certificates that are served. Their files are looked at every ten seconds and at SIGHUP:
    /// a renewed pair is served to new connections, and one that cannot be used never replaces one
    /// that can.
    Tls "[tls]" {
        /// File in PEM with the server's certificate and, below it, those that lead to its root.
        /// It is served to every peer that asks for no name, or for one that no certificate has.
        certificate: String = Absent("a self-signed one is made in the folder `tls` of `data_dir`");
        /// File in PEM with its key, without a password. Nobody else should be able to read it.
        key: String = Absent("must be there when `certificate` is");
        /// File in PEM with the authorities whose certificates let clients log in with `EXTERNAL`:
        /// listeners for submission then ask for one. It should be an authority of yours alone:
        /// whoever it certifies a mail address for is that account. Read at start and at SIGHUP.
        client_ca: String = Absent("clients are not asked for a certificate");
        /// Further certificates, for peers that ask for one of their names.
        sni: Tables<Sni> = Is("[]");
        /// An authority from which the certificate comes, in the place of `certificate` and `key`.
        acme: Acme = Absent("no authority is asked");
    }
}

section! {
    /// An authority that speaks ACME (RFC 8555), such as Let's Encrypt. It gives one certificate
    /// for all `names`, which is renewed when a third of its life is left, and served as soon as it
    /// is there; until then the server's own is. After a failure it is tried again after 5 minutes,
    /// then after growing times of up to half a day, and after a reload.
    Acme "[tls.acme]" {
        /// `true` says that you have read the authority's terms of service and agree to them.
        accept_terms: bool = Required("true");
        /// Your mail address, for the authority to write to when something is wrong.
        contact: String = Absent("the authority cannot write to you");
        /// URL of the authority's directory.
        directory: String = Is("\"https://acme-v02.api.letsencrypt.org/directory\"");
        /// Names that the certificate is for.
        names: Many<String> = Absent("the server's `hostname`");
        /// How the authority is shown that the names are yours: `http-01` by a file at port 80 of
        /// each name, `tls-alpn-01` by a handshake at port 443.
        challenge: String = Is("\"http-01\"");
        /// Where the server waits for the authority, and serves nothing else.
        address: Many<String> = Absent(
            "port 80 (`http-01`) or 443 (`tls-alpn-01`) of `0.0.0.0` and `[::]`"
        );
        /// File in PEM with further roots that the authority's own server may be verified by.
        ca: String = Absent("the system's roots alone");
    }
}

section! {
    /// A further certificate. Its subject alternative names, which may have a `*` as their first
    /// label, say for which names it is served. Of several with the same name the first is taken
    /// whose kind of key the peer knows, so an ECDSA and an RSA certificate can stand together.
    Sni "[[tls.sni]]" {
        /// File in PEM with the certificate and those that lead to its root.
        certificate: String = Required("\"mail.example.net.pem\"");
        /// File in PEM with its key.
        key: String = Required("\"mail.example.net.key\"");
    }
}

section! {
    /// Who may authenticate, where a listener serves `submission`. An account whose name is an
    /// address in a domain of ours is a mailbox of that domain, too.
    Accounts "[accounts]" {
        /// File of the accounts, which `posthaste user` writes; a passwd-file of Dovecot serves as
        /// well. It is read again when it changes, without a reload. Its format is in
        /// docs/reference/accounts.md.
        file: String = Is("\"users\"");
        /// Mechanisms that may be offered, in this order: `SCRAM-SHA-256-PLUS`, `SCRAM-SHA-256`,
        /// `PLAIN`, `LOGIN`, `CRAM-MD5` (which needs stored what is as good as the password), and
        /// `EXTERNAL` (a client's certificate). One is offered when some account can use it.
        mechanisms: Many<String> = Is(
            "[\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\", \"PLAIN\", \"LOGIN\"]"
        );
    }
}

section! {
    /// How names are looked up.
    Dns "[dns]" {
        /// Servers to ask, as address and port. DNSSEC results are believed only from a server on
        /// loopback.
        servers: Many<String> = Absent("the system's servers");
    }
}

section! {
    /// What one message, one connection and one address may cost. The defaults are meant never to
    /// be met by an honest peer, however busy; who meets a limit is told which, and so is the log.
    /// An address is an IPv4 address or the /64 network of an IPv6 one. Rates are buckets that
    /// refill evenly: so many at once, then one each time its share of the period has passed.
    Limits "[limits]" {
        /// Largest message. Announced with SIZE, and enforced while a message comes in.
        message_size: Size = Is("\"50MiB\"");
        /// Most recipients of one transaction; at least 100 (RFC 5321 §4.5.3.1.8). Further ones
        /// get 452, and the peer sends them again in its next transaction.
        recipients: Count = Is("1000");
        /// Connections at once, over all listeners. Further ones get 421. Each costs a file
        /// descriptor and its buffers.
        connections: Count = Is("20000");
        /// Connections at once from one address. Further ones get 421.
        connections_per_address: Count = Is("100");
        /// New connections per minute from one address. Further ones get 421.
        connections_per_minute: Count = Is("600");
        /// Messages per hour from one address. Further ones get 450 at MAIL.
        messages_per_hour: Count = Is("36000");
        /// Recipients per hour from one address, whether they exist or not. Further ones get 452.
        recipients_per_hour: Count = Is("100000");
        /// Networks whose addresses meet none of the four limits above. The `networks` of `[relay]`
        /// meet them neither.
        exempt: Many<Network> = Is("[\"127.0.0.0/8\", \"::1\"]");
        /// Recipients per hour that one account may send to. Above that its mail is accepted and
        /// held, and its owner and the postmaster are told.
        account_recipients_per_hour: Count = Is("1000");
        /// The same, per day. Of what is held, four times as much is taken in a day; more gets 450.
        account_recipients_per_day: Count = Is("5000");
        /// How far ahead an account may have its mail sent (FUTURERELEASE); `"0s"` does not offer
        /// it.
        future_release: Duration = Is("\"30d\"");
        /// The most urgent that an account may call its mail (MT-PRIORITY), 1 to 9; what asks for
        /// more gets this.
        priority: Count = Is("4");
        /// Commands in one session that bring no message, counted since its last one; recipients
        /// that are accepted do not count. The next one gets 421, and the session ends.
        commands: Count = Is("1000");
        /// Commands in one session that are no SMTP. The next one gets 421, and the session ends.
        errors: Count = Is("20");
        /// Recipients that a session may name in vain. The next one gets 421, and the connection
        /// ends: who tries many addresses looks for those that exist. Users, the `networks` of
        /// `[relay]` and those of `exempt` may name any number.
        refused_recipients: Count = Is("100");
        /// Connections of ours to one destination at once, and deliveries into the mailboxes of one
        /// domain; 1 to 500.
        connections_per_destination: Count = Is("20");
        /// Octets per second at which a message must come, on average over five minutes. A slower
        /// one gets 421.
        transfer_rate: Count = Is("100");
        /// What a transaction may take, from MAIL to the end of the message. A longer one gets 421.
        transaction_time: Duration = Is("\"3h\"");
        /// What a peer may take from its connection to its EHLO or HELO. A slower one gets 421.
        hello_time: Duration = Is("\"5m\"");
        /// What to do about peers that speak before our greeting, as only programs do that hear no
        /// answers: `refuse` them with 554, or `allow` it. Nobody is made to wait for this, and
        /// the `networks` of `[relay]` may always.
        early_talkers: String = Is("\"refuse\"");
    }
}

section! {
    /// Who really sent a message: what is found out about mail from other servers, and what is
    /// done with mail that nobody stands behind. Judged is what comes to a listener for `mx`, but
    /// not from the `networks` of `[relay]`; `posthaste verify` judges by the same keys.
    Dmarc "[dmarc]" {
        /// Whether SPF, DKIM, ARC and DMARC are checked, and the results written on top of the
        /// message as Authentication-Results. Such fields in our name that were there before are
        /// removed.
        check: bool = Is("true");
        /// What is done at most with mail that fails DMARC: `none` (it is only marked),
        /// `quarantine`, or `reject` (550 where the author's domain publishes `p=reject`). RFC 9989
        /// §7.4 advises against refusing mail for that alone: much of it came through a mailing
        /// list. What cannot be looked up fails nothing.
        policy: String = Is("\"quarantine\"");
        /// What quarantine is: `junk` (into the folder `.Junk` of a Maildir; everywhere, a header
        /// field `X-Posthaste-Disposition: quarantine`) or `hold` (it waits in the queue until the
        /// operator releases or deletes it: `posthaste queue list state=held`).
        quarantine: String = Is("\"junk\"");
        /// Domains of forwarders and mailing lists whose ARC seals are believed: mail that passed
        /// DMARC when it came to them, by their word, is exempt here. All sealers of a message must
        /// be named.
        trusted_sealers: Many<String> = Is("[]");
        /// Networks of forwarders whose mail is only marked. SPF fails behind every forwarder.
        exempt_networks: Many<Network> = Is("[]");
        /// Domains, and all below them, whose mail is only marked when SPF or DKIM shows that it is
        /// theirs, whoever its author is: mailing lists.
        exempt_domains: Many<String> = Is("[]");
        /// Whether a Received-SPF field is written, too, for filters that read nothing else.
        received_spf: bool = Is("false");
        /// Whether domains whose DMARC record asks for it (`rua`) are told once a day what was
        /// seen of mail in their name (RFC 9990): counts by source and result, nothing of the
        /// messages. Only what is judged is counted.
        send_reports: bool = Is("true");
        /// Who reports, in words.
        organization: String = Absent("`hostname`");
        /// The author of our reports. Its domain should have DKIM keys, or be that of `hostname`.
        report_from: String = Absent("`postmaster`, or `postmaster` at `hostname`");
        /// Addresses of ours, mailboxes or aliases, whose mail is read for reports that others send
        /// us, besides being delivered to a mailbox here. `posthaste reports` shows them. Name them
        /// in the `rua` of DMARC and TLS-RPT records.
        reports_to: Many<String> = Absent("`postmaster`");
    }
}

section! {
    /// The keys that sign our mail. `posthaste dkim` makes them.
    Dkim "[dkim]" {
        /// Age at which the keys of a domain get successors by themselves, as `posthaste dkim
        /// rotate` makes them. Their records are to be published then; the old keys sign until the
        /// DNS has them.
        rotate_every: Duration = Absent("only `posthaste dkim rotate` makes successors");
    }
}

section! {
    /// A domain whose mail we are responsible for. Recipients that do not exist are refused while
    /// the peer waits. A domain of ours always beats a route.
    Domain "[[domain]]" {
        /// Its name. International names may be written as they are.
        name: String = Required("\"example.org\"");
        /// Where its mail goes: `maildir:/path/{domain}/{local}`, `lmtp://host:port`,
        /// `lmtp+unix:/path`, `smtp://host:port` (another server is the final one), `discard:`
        /// (nowhere). `{local}` is the mailbox name in lower case, as it stands in `mailboxes`.
        deliver: String = Absent("`maildir:` in the folder `mail/{domain}/{local}` of `data_dir`");
        /// The user who owns the mail files. Needs a start as root.
        owner: String = Absent("the user who runs the server");
        /// Its mailboxes: local parts, compared without case. `["*"]` means all: with `lmtp` and
        /// `smtp` the next server decides who exists, with `maildir` the folders that are there
        /// when the configuration is read.
        mailboxes: Many<String> = Is("[]");
        /// File of aliases, as in aliases(5): `name: target, target`. A target is an address, or a
        /// local part of the same domain. Programs, files and `:include:` are errors.
        aliases: String = Absent("no aliases");
        /// Address that gets the mail for everybody who is not there.
        catch_all: String = Absent("mail for unknown recipients is refused");
        /// Character that separates the mailbox from a detail: with `+`, mail for `alice+x` goes to
        /// `alice`.
        subaddress: String = Absent("local parts are taken whole");
    }
}

section! {
    /// Who may send to domains that are not ours.
    Relay "[relay]" {
        /// Networks whose hosts may relay without AUTH. Name only hosts that are yours: everybody
        /// in these networks can send mail in your name. Host bits and `/0` are errors.
        networks: Many<Network> = Is("[]");
    }
}

section! {
    /// Where mail for domains that are not ours goes. The first route that matches is used; what
    /// matches none goes by MX. A route never allows anybody to relay.
    Route "[[route]]" {
        /// Domains it is for: `example.net`, `*.example.net` (those below it), `*` (all).
        recipients: Many<String> = Required("[\"*\"]");
        /// Where it goes: one or several of `smtp://host:port`, of `smtps://host:port` (TLS from
        /// the first octet), or of `lmtp://host:port`, tried in order; or `mx` (the domain's own
        /// servers); or `discard:` (nowhere). Hosts are looked up by address, never by MX. Without
        /// a port, `smtp` means 25, `smtps` 465 and `lmtp` 24.
        via: Many<String> = Required("\"smtp://192.0.2.25:25\"");
        /// `opportunistic`: TLS where the server offers it, with whatever certificate, and in clear
        /// where that fails; not on this machine. `require`: TLS with whatever certificate, or no
        /// delivery. `verify`: TLS with a certificate that leads to a root this system trusts and
        /// is for the server's name as it stands in `via`, or no delivery. `none`: in clear.
        tls: String = Is("\"opportunistic\"");
        /// Who we are to the server. It is told only where its certificate was verified, or on this
        /// machine.
        user: String = Absent("we do not log in");
        /// File whose first line is the password. Only the server and root should be able to read
        /// it.
        password_file: String = Absent("must be there when `user` is");
        /// File in PEM with a certificate that the server is shown when it asks for one, and with
        /// those that lead to its root. A server that offers AUTH EXTERNAL knows us by it.
        client_certificate: String = Absent("none is shown");
        /// File in PEM with its key, without a password.
        client_key: String = Absent("must be there when `client_certificate` is");
    }
}

section! {
    /// When deliveries are tried again, and when they are given up.
    Retry "[retry]" {
        /// Waits between attempts. The last one repeats.
        intervals: Many<Duration> = Is(
            "[\"1m\", \"5m\", \"15m\", \"30m\", \"1h\", \"2h\", \"4h\"]"
        );
        /// Age at which undelivered mail is given up and reported to its reverse-path
        /// (RFC 5321 §4.5.4.1 wants 4 to 5 days).
        expire_after: Duration = Is("\"5d\"");
        /// Age at which the reverse-path is told that its mail is late.
        delay_notice_after: Duration = Is("\"4h\"");
    }
}

/// The top of the file, with every section below it.
#[must_use]
pub fn top() -> Section {
    File::ABOUT
}

impl File {
    /// Reads `source`. Where something is wrong it is reported and the setting is absent; after an
    /// error of syntax nothing else is looked at, since what follows it may be misread.
    #[must_use]
    pub fn parse<'a>(source: &'a Source) -> (Option<File>, Reader<'a>) {
        let mut reader = Reader::new(source);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let mut line = None;
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            // What follows on the same line is misread because of the first.
            let this = source.place(&span).line;
            if line.replace(this) != Some(this) {
                let (cause, fix) = syntax(error.message());
                reader.error(&span, cause, fix);
            }
        }
        if !errors.is_empty() {
            return (None, reader);
        }
        let file = File::of(table.get_ref(), &(0..0), &mut reader);
        (Some(file), reader)
    }
}

/// What to say about an error of syntax.
fn syntax(message: &str) -> (String, &'static str) {
    let fix = if message.contains("duplicate key") {
        "keep one of them; a section that stands several times has double brackets, like [[domain]]"
    } else {
        "TOML is written `key = \"text\"`, `key = 1000`, `key = [\"one\", \"two\"]`, and a section \
         begins with [dns] or [[domain]] on a line of its own"
    };
    (format!("this is not TOML: {message}"), fix)
}

#[cfg(test)]
mod tests {
    use toml::de::DeValue;

    use super::super::value::Fallback;
    use super::top;

    #[test]
    fn every_default_and_every_example_is_well_written() {
        for key in top().all().iter().flat_map(|s| s.keys) {
            if let Fallback::Is(text) | Fallback::Required(text) = key.default {
                assert!(DeValue::parse(text).is_ok(), "{} = {text}", key.name);
            }
            assert!(
                !key.about.is_empty(),
                "{} says nothing about itself",
                key.name
            );
        }
    }
}
