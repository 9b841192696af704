//! `[dmarc]`: what is found out about the senders of mail, and what follows. `[dkim]`: how we sign.

use std::time::Duration;

use posthaste_mailauth::dmarc::Policy;
use posthaste_smtp::address::{DomainName, Mailbox};

use super::{Meaning, text};
use crate::config::file::{self, File};
use crate::config::value::{Many, Setting};
use crate::config::{Dmarc, Feedback, Networks, Quarantine};

/// Below this a domain would collect old keys faster than they retire.
const ROTATE_EVERY_MIN: Duration = Duration::from_secs(30 * 86_400);

impl Meaning<'_> {
    pub(super) fn dmarc(&mut self, file: &File) -> Option<Dmarc> {
        let written = &file.dmarc.as_ref()?.value;
        let policy = self.policy(written);
        let quarantine = self.quarantine(written);
        let sealers = self.senders(written.trusted_sealers.as_ref());
        let exempt_networks = self.forwarders(written);
        let exempt_domains = self.senders(written.exempt_domains.as_ref());
        Some(Dmarc {
            check: written.check.as_ref()?.value,
            policy: policy?,
            quarantine: quarantine?,
            trusted_sealers: sealers.iter().map(|s| s.as_str().to_owned()).collect(),
            exempt_networks,
            exempt_domains,
            received_spf: written.received_spf.as_ref()?.value,
        })
    }

    pub(super) fn rotate_dkim_every(&mut self, file: &File) -> Option<Duration> {
        let Setting { value, span } = file.dkim.as_ref()?.value.rotate_every.as_ref()?;
        if *value < ROTATE_EVERY_MIN {
            self.reader.error(
                span,
                "keys of that age still wait for their mail to arrive everywhere",
                "write 30 days or more, like `rotate_every = \"180d\"`",
            );
        }
        Some(*value)
    }

    /// Reports about mail in the name of domains, both ways.
    pub(super) fn feedback(
        &mut self,
        file: &File,
        hostname: Option<&DomainName>,
        postmaster: Option<&Mailbox>,
    ) -> Option<Feedback> {
        let written = &file.dmarc.as_ref()?.value;
        let from = match (&written.report_from, postmaster) {
            (Some(written), _) => self.mailbox(written),
            (None, Some(postmaster)) => Some(postmaster.clone()),
            (None, None) => text::mailbox(&format!("postmaster@{}", hostname?)).ok(),
        };
        let read_for = match &written.reports_to {
            Some(named) => {
                let named = named.value.list.iter();
                named.filter_map(|address| self.mailbox(address)).collect()
            }
            None => postmaster.cloned().into_iter().collect(),
        };
        Some(Feedback {
            send: written.send_reports.as_ref()?.value,
            organization: written.organization.as_ref().map(|o| o.value.clone()),
            from: from?,
            read_for,
        })
    }

    fn policy(&mut self, written: &file::Dmarc) -> Option<Policy> {
        let Setting { value, span } = written.policy.as_ref()?;
        let policies = [Policy::None, Policy::Quarantine, Policy::Reject];
        let policy = policies.into_iter().find(|p| p.word() == value);
        if policy.is_none() {
            self.reader.error(
                span,
                format!("`{value}` is nothing to do with mail that fails DMARC"),
                "write `policy = \"quarantine\"`, `policy = \"reject\"` or `policy = \"none\"`",
            );
        }
        policy
    }

    fn quarantine(&mut self, written: &file::Dmarc) -> Option<Quarantine> {
        let Setting { value, span } = written.quarantine.as_ref()?;
        match value.as_str() {
            "junk" => Some(Quarantine::Junk),
            "hold" => Some(Quarantine::Hold),
            other => {
                self.reader.error(
                    span,
                    format!("`{other}` is no quarantine"),
                    "write `quarantine = \"junk\"` or `quarantine = \"hold\"`",
                );
                None
            }
        }
    }

    fn senders(&mut self, written: Option<&Setting<Many<String>>>) -> Vec<DomainName> {
        let entries = written.map(|n| n.value.list.as_slice()).unwrap_or_default();
        let mut names = Vec::new();
        for entry in entries {
            match text::domain_name(&entry.value) {
                Ok(name) => names.push(name),
                Err(cause) => self.reader.error(
                    &entry.span,
                    format!("`{}` is not a domain: {cause}", entry.value),
                    "write a domain, like \"lists.example.net\"",
                ),
            }
        }
        names
    }

    fn forwarders(&mut self, written: &file::Dmarc) -> Networks {
        let networks = written.exempt_networks.as_ref();
        let networks = networks
            .map(|n| n.value.list.as_slice())
            .unwrap_or_default();
        for network in networks.iter().filter(|n| n.value.is_vast()) {
            self.reader.warn(
                &network.span,
                format!("mail from everywhere in `{}` is only marked", network.value),
                "name only forwarders that you know, or write `policy = \"none\"`",
            );
        }
        networks.iter().map(|n| n.value).collect()
    }
}
