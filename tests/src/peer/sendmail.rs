//! Sendmail, as a next hop that takes mail for any domain into one Maildir, or as a server that
//! hands mail on.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Running, Tree, open_folder, write};
use crate::wait_for_listener;

/// A running Sendmail.
pub struct Sendmail {
    running: Running,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Puts a message into a Maildir; the program takes a mailer for one that speaks SMTP unless the
/// recipient is among its words.
const DELIVER: &str =
    "name=$(date +%s%N).$$\ncat >\"$1/tmp/$name\" && mv \"$1/tmp/$name\" \"$1/new\"\n";

impl Sendmail {
    /// Starts it at `address`, with TLS by a certificate and its key. `implicit`: TLS from the
    /// start.
    #[must_use]
    pub fn start(address: SocketAddr, tls: (&str, &str), implicit: bool) -> Option<Self> {
        let modifiers = if implicit { "s" } else { "" };
        let settings = "define(`confSERVER_CERT', `/mnt/certificate')dnl\n\
             define(`confSERVER_KEY', `/mnt/key')dnl\n\
             define(`confCACERT', `/mnt/certificate')dnl\n\
             define(`confCACERT_PATH', `/mnt')dnl\n";
        Sendmail::routed(address, modifiers, settings, Some(tls), |dir| {
            format!(
                "MAILER_DEFINITIONS\n\
                 Mmaildir, P=/bin/sh, F=lsDFMPnq59, S=EnvFromL/HdrFromL, R=EnvToL/HdrToL, \
                 T=DNS/RFC822/X-Unix, A=sh {dir}/deliver {dir}/mail/box $u\n\
                 LOCAL_RULE_0\nR$* <@ $+ > $*\t\t$#maildir $: all\n"
            )
        })
    }

    /// Starts it at `address`; it hands all mail on to `next`.
    #[must_use]
    pub fn relaying(address: SocketAddr, next: SocketAddr) -> Option<Self> {
        let settings = format!(
            "define(`SMART_HOST', `relay:[{}]')dnl\n\
             define(`RELAY_MAILER_ARGS', `TCP $h {}')dnl\n",
            next.ip(),
            next.port()
        );
        Sendmail::routed(address, "", &settings, None, |_| String::new())
    }

    fn routed(
        address: SocketAddr,
        modifiers: &str,
        settings: &str,
        tls: Option<(&str, &str)>,
        rules: impl Fn(&str) -> String,
    ) -> Option<Self> {
        let tree = Tree::require("sendmail")?;
        let folder = crate::folder();
        let dir = folder.path().display().to_string();
        for name in ["new", "tmp", "cur"] {
            open_folder(&folder.path().join("mail/box").join(name));
        }
        std::fs::create_dir_all(folder.path().join("queue")).expect("a folder");
        write(&folder.path().join("deliver"), DELIVER);
        // Names come from the file of hosts alone: it would wait for a DNS that answers.
        write(
            &folder.path().join("switch"),
            "hosts files\naliases files\n",
        );
        let (ip, port) = (address.ip(), address.port());
        let rules = rules(&dir);
        write(
            &folder.path().join("sendmail.mc"),
            &format!(
                "OSTYPE(`debian')dnl\n\
                 undefine(`confHOST_STATUS_DIRECTORY')dnl\n\
                 define(`confDOMAIN_NAME', `sendmail.example')dnl\n\
                 define(`QUEUE_DIR', `{dir}/queue')dnl\n\
                 define(`confPID_FILE', `{dir}/pid')dnl\n\
                 define(`ALIAS_FILE', `')dnl\ndefine(`STATUS_FILE', `')dnl\n\
                 define(`confTO_IDENT', `0')dnl\n\
                 define(`confSERVICE_SWITCH_FILE', `{dir}/switch')dnl\n\
                 define(`confDONT_BLAME_SENDMAIL', \
                 `GroupWritableDirPathSafe,GroupReadableKeyFile')dnl\n\
                 FEATURE(`accept_unresolvable_domains')dnl\n\
                 FEATURE(`accept_unqualified_senders')dnl\n\
                 FEATURE(`promiscuous_relay')dnl\n\
                 FEATURE(`nocanonify')dnl\nFEATURE(`no_default_msa')dnl\n{settings}\
                 DAEMON_OPTIONS(`Name=MTA, Addr={ip}, Port={port}, M={modifiers}')dnl\n\
                 MAILER(`local')dnl\nMAILER(`smtp')dnl\n{rules}"
            ),
        );
        // It takes no key that others may read, nor one below a folder to which others may write.
        let (certificate, key) = tls.unwrap_or(("/dev/null", "/dev/null"));
        let script = "mount -t tmpfs -o mode=755 tmpfs /mnt\n\
             install -m 600 $2 /mnt/certificate; install -m 600 $3 /mnt/key\n\
             echo \"127.0.0.1 localhost $(hostname).example $(hostname)\" >$1/hosts\n\
             mount --bind $1/hosts /etc/hosts\n\
             cf=/usr/share/sendmail/cf\n\
             m4 -D_CF_DIR_=$cf/ $cf/m4/cf.m4 $1/sendmail.mc >$1/sendmail.cf\n\
             /usr/libexec/sendmail/sendmail -bD -q1h -C $1/sendmail.cf";
        let running = tree.start(folder, script, &[&dir, certificate, key]);
        wait_for_listener("sendmail", address);
        Some(Sendmail { running, address })
    }

    /// The Maildir with all it has received.
    #[must_use]
    pub fn maildir(&self) -> PathBuf {
        self.running.dir().join("mail/box")
    }
}
