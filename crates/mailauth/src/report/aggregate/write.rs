//! The XML of an aggregate report (RFC 9990 §3.1.1, appendix A), and its compression.
//!
//! Elements stand in the order of the schema; texts are escaped and lose what XML 1.0 cannot hold.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Aggregate, Discovery, Row};
use crate::dmarc::Override;

/// The namespace (RFC 9990 §6.1).
pub(super) const NAMESPACE: &str = "urn:ietf:params:xml:ns:dmarc-2.0";

impl Aggregate {
    /// The report as XML, with all its rows.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let rows: Vec<(&Row, u64)> = self.rows.iter().map(|(row, &n)| (row, n)).collect();
        self.write(&rows, self.omitted)
    }

    /// The report as XML in gzip, of at most `octets_max` octets: when it has more, the rows with
    /// the fewest messages are left out, and the report says so. `None` when not even one row
    /// fits, or when there is none to report.
    #[must_use]
    pub fn to_gzip(&self, octets_max: usize) -> Option<Vec<u8>> {
        let mut rows: Vec<(&Row, u64)> = self.rows.iter().map(|(row, &n)| (row, n)).collect();
        rows.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let mut omitted = self.omitted;
        while !rows.is_empty() {
            let octets = compress(self.write(&rows, omitted).as_bytes());
            if octets.len() <= octets_max {
                return Some(octets);
            }
            for (_, n) in rows.drain(rows.len() / 2..) {
                omitted = omitted.saturating_add(n);
            }
        }
        None
    }

    fn write(&self, rows: &[(&Row, u64)], omitted: u64) -> String {
        let mut xml = Xml::default();
        xml.out
            .push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(xml.out, "<feedback xmlns=\"{NAMESPACE}\">");
        xml.depth = 1;
        xml.text("version", "1.0");
        xml.element("report_metadata", |xml| self.metadata(xml, omitted));
        xml.element("policy_published", |xml| self.policy(xml));
        for (row, count) in rows {
            xml.element("record", |xml| record(xml, row, *count));
        }
        xml.out.push_str("</feedback>\n");
        xml.out
    }

    fn metadata(&self, xml: &mut Xml, omitted: u64) {
        xml.text("org_name", &self.reporter.organization);
        xml.text("email", &self.reporter.email);
        xml.optional("extra_contact_info", self.reporter.contact.as_deref());
        xml.text("report_id", &self.id);
        xml.element("date_range", |xml| {
            xml.text("begin", &self.begin_s.to_string());
            xml.text("end", &self.end_s.to_string());
        });
        let mut errors = self.errors.clone();
        if omitted > 0 {
            errors.push(format!(
                "{omitted} messages are left out, to keep this report small"
            ));
        }
        if !errors.is_empty() {
            xml.text("error", &errors.join("; "));
        }
        xml.optional("generator", self.reporter.generator.as_deref());
    }

    fn policy(&self, xml: &mut Xml) {
        let published = &self.published;
        xml.text("domain", &published.domain);
        xml.text("p", published.policy.map_or("none", |p| p.word()));
        xml.optional("sp", published.subdomains.map(|p| p.word()));
        xml.optional("np", published.nonexistent.map(|p| p.word()));
        xml.optional("adkim", published.dkim.map(|a| a.letter()));
        xml.optional("aspf", published.spf.map(|a| a.letter()));
        xml.optional(
            "discovery_method",
            published.discovery.map(|d| match d {
                Discovery::PublicSuffixList => "psl",
                Discovery::TreeWalk => "treewalk",
            }),
        );
        xml.optional("fo", published.failure_options.as_deref());
        xml.optional(
            "testing",
            published.testing.map(|t| if t { "y" } else { "n" }),
        );
    }
}

fn record(xml: &mut Xml, row: &Row, count: u64) {
    xml.element("row", |xml| {
        xml.text("source_ip", &row.source.to_string());
        xml.text("count", &count.to_string());
        xml.element("policy_evaluated", |xml| {
            let result = |aligned| if aligned { "pass" } else { "fail" };
            xml.text("disposition", row.disposition.word());
            xml.text("dkim", result(row.dkim_aligned));
            xml.text("spf", result(row.spf_aligned));
            for Override { kind, comment } in &row.overrides {
                xml.element("reason", |xml| {
                    xml.text("type", kind.word());
                    xml.optional("comment", Some(comment.as_str()).filter(|c| !c.is_empty()));
                });
            }
        });
    });
    xml.element("identifiers", |xml| {
        xml.text("header_from", &row.header_from);
        xml.optional("envelope_from", row.envelope_from.as_deref());
        xml.optional("envelope_to", row.envelope_to.as_deref());
    });
    xml.element("auth_results", |xml| {
        for signature in &row.dkim {
            xml.element("dkim", |xml| {
                xml.text("domain", &signature.domain);
                xml.text(
                    "selector",
                    signature.selector.as_deref().unwrap_or_default(),
                );
                xml.text("result", signature.verdict.word());
                xml.optional("human_result", signature.reason.as_deref());
            });
        }
        // The name in HELO has no place here (RFC 9990 §3.1.1.13).
        for spf in row.spf.iter().filter(|spf| !spf.helo).take(1) {
            xml.element("spf", |xml| {
                xml.text("domain", &spf.domain);
                xml.text("scope", "mfrom");
                xml.text("result", spf.verdict.word());
                xml.optional("human_result", spf.reason.as_deref());
            });
        }
    });
}

/// Elements, indented.
#[derive(Default)]
struct Xml {
    out: String,
    depth: usize,
}

impl Xml {
    fn indent(&mut self) {
        self.out.extend(std::iter::repeat_n("  ", self.depth));
    }

    fn element(&mut self, name: &str, content: impl FnOnce(&mut Xml)) {
        self.indent();
        let _ = writeln!(self.out, "<{name}>");
        self.depth += 1;
        content(self);
        self.depth -= 1;
        self.indent();
        let _ = writeln!(self.out, "</{name}>");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.indent();
        let _ = write!(self.out, "<{name}>");
        for c in text.chars() {
            match c {
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '&' => self.out.push_str("&amp;"),
                '\t' => self.out.push(' '),
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => self.out.push('?'),
                c => self.out.push(c),
            }
        }
        let _ = writeln!(self.out, "</{name}>");
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }
}

/// Octets in gzip, the same for the same octets.
fn compress(octets: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let _ = gzip.write_all(octets);
    gzip.finish().unwrap_or_default()
}
