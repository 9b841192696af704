//! Reading an aggregate report (RFC 9990 §3.1.1, RFC 7489 appendix C), as lenient as it must be:
//! with or without the namespace, elements in any order, unknown ones passed over.
//!
//! Bounded by [`ROWS_MAX`], [`DEPTH_MAX`] and the cut of every text. A document type declaration is
//! refused, so that no entity can grow; of the others only those that XML predefines are known.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{
    Aggregate, Discovery, Disposition, Published, ROWS_MAX, Reporter, Row, Signature, Spf,
};
use crate::Verdict;
use crate::dmarc::{Alignment, Override, OverrideKind, Policy};
use crate::report::{TEXT_MAX, line};

/// Elements in elements.
const DEPTH_MAX: usize = 32;
/// Texts under one element of a row; more are passed over.
const LIST_MAX: usize = 100;

/// Why a report cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Not XML; the text says where.
    Xml(String),
    /// It has a document type declaration.
    DocumentType,
    /// Elements stand too deep in each other.
    TooDeep,
    /// The root element is another.
    NoFeedback,
    /// An element that a report must have is not there.
    Missing(&'static str),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Xml(why) => write!(f, "not XML: {why}"),
            Unreadable::DocumentType => f.write_str("it has a document type declaration"),
            Unreadable::TooDeep => f.write_str("its elements stand too deep in each other"),
            Unreadable::NoFeedback => f.write_str("its root element is not feedback"),
            Unreadable::Missing(what) => write!(f, "it has no {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Reads the XML of a report.
pub fn read(xml: &[u8]) -> Result<Aggregate, Unreadable> {
    let xml = String::from_utf8_lossy(xml);
    let mut reader = Reader::from_str(xml.trim_start_matches('\u{feff}'));
    let mut reading = Reading::default();
    loop {
        let event = reader.read_event().map_err(|fault| {
            let place = reader.error_position();
            Unreadable::Xml(line(&format!("{fault}, at octet {place}")))
        })?;
        match event {
            Event::Start(element) => reading.open(element.local_name().as_ref())?,
            Event::Empty(element) => {
                reading.open(element.local_name().as_ref())?;
                reading.close();
            }
            Event::End(_) => reading.close(),
            Event::Text(text) => reading.text(&text.xml10_content()),
            Event::CData(text) => reading.text(&text.xml10_content()),
            Event::GeneralRef(name) => {
                let c = match name.resolve_char_ref() {
                    Ok(Some(c)) => Some(c),
                    _ => predefined(&name),
                };
                let mut octets = [0; 4];
                reading.text(c.unwrap_or('?').encode_utf8(&mut octets));
            }
            Event::DocType(_) => return Err(Unreadable::DocumentType),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    reading.finish()
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

/// What has been read so far: the path of open elements, and the values of the parts that are open.
#[derive(Default)]
struct Reading {
    path: Vec<String>,
    text: String,
    feedback: bool,
    /// Values outside of records, by their path.
    values: BTreeMap<String, String>,
    /// Values of the record that is open, by their path below it, each as often as it stands there.
    record: Vec<(String, String)>,
    rows: BTreeMap<Row, u64>,
    omitted: u64,
}

impl Reading {
    fn open(&mut self, name: &str) -> Result<(), Unreadable> {
        if self.path.is_empty() && name != "feedback" {
            return Err(Unreadable::NoFeedback);
        }
        self.feedback = true;
        if self.path.len() >= DEPTH_MAX {
            return Err(Unreadable::TooDeep);
        }
        let name: String = name.chars().take(TEXT_MAX).collect();
        self.path.push(name);
        self.text.clear();
        if let ["feedback", "record", rest @ ..] = self.names().as_slice() {
            match rest {
                [] => self.record.clear(),
                // Where a list's next item begins is kept, so that its values stay together.
                [_, "dkim" | "spf"] | [_, _, "reason"] => self.keep(String::new()),
                _ => {}
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    fn text(&mut self, text: &str) {
        let room = TEXT_MAX.saturating_sub(self.text.len());
        let end = text.floor_char_boundary(room.min(text.len()));
        self.text.push_str(text.get(..end).unwrap_or_default());
    }

    fn close(&mut self) {
        let text = line(&std::mem::take(&mut self.text));
        match self.names().as_slice() {
            ["feedback", "record"] => self.end_record(),
            ["feedback", "record", ..] if !text.is_empty() => self.keep(text),
            ["feedback", rest @ ..] if !text.is_empty() => {
                let path = rest.join("/");
                if self.values.len() < LIST_MAX {
                    self.values.entry(path).or_insert(text);
                }
            }
            _ => {}
        }
        self.path.pop();
    }

    fn keep(&mut self, text: String) {
        let path = self.path.get(2..).unwrap_or_default().join("/");
        if self.record.len() < 8 * LIST_MAX {
            self.record.push((path, text));
        }
    }

    fn end_record(&mut self) {
        let record = Record(std::mem::take(&mut self.record));
        // A record that names no source says nothing.
        let Some(row) = record.row() else { return };
        let count = record.first("row/count").and_then(|n| n.parse().ok());
        let count: u64 = count.unwrap_or(1);
        if let Some(sum) = self.rows.get_mut(&row) {
            *sum = sum.saturating_add(count);
        } else if self.rows.len() < ROWS_MAX {
            self.rows.insert(row, count);
        } else {
            self.omitted = self.omitted.saturating_add(count);
        }
    }

    fn finish(self) -> Result<Aggregate, Unreadable> {
        if !self.path.is_empty() {
            return Err(Unreadable::Xml("it ends early".to_owned()));
        }
        if !self.feedback {
            return Err(Unreadable::NoFeedback);
        }
        let value = |path: &str| self.values.get(path).cloned();
        let must = |path, what| value(path).ok_or(Unreadable::Missing(what));
        let seconds = |path: &str| value(path).and_then(|text| text.parse().ok());
        Ok(Aggregate {
            reporter: Reporter {
                organization: value("report_metadata/org_name").unwrap_or_default(),
                email: value("report_metadata/email").unwrap_or_default(),
                contact: value("report_metadata/extra_contact_info"),
                generator: value("report_metadata/generator"),
            },
            id: must("report_metadata/report_id", "report_id")?,
            begin_s: seconds("report_metadata/date_range/begin")
                .ok_or(Unreadable::Missing("begin"))?,
            end_s: seconds("report_metadata/date_range/end").ok_or(Unreadable::Missing("end"))?,
            errors: value("report_metadata/error").into_iter().collect(),
            published: published(&self.values)?,
            rows: self.rows,
            omitted: self.omitted,
        })
    }
}

fn published(values: &BTreeMap<String, String>) -> Result<Published, Unreadable> {
    let value = |name: &str| {
        values
            .get(&format!("policy_published/{name}"))
            .map(String::as_str)
    };
    let policy = |name| value(name).and_then(Policy::from_word);
    let alignment = |name| match value(name)? {
        "r" => Some(Alignment::Relaxed),
        "s" => Some(Alignment::Strict),
        _ => None,
    };
    Ok(Published {
        domain: value("domain")
            .ok_or(Unreadable::Missing("policy domain"))?
            .to_owned(),
        policy: policy("p"),
        subdomains: policy("sp"),
        nonexistent: policy("np"),
        dkim: alignment("adkim"),
        spf: alignment("aspf"),
        testing: value("testing").map(|text| text == "y"),
        failure_options: value("fo").map(str::to_owned),
        discovery: match value("discovery_method") {
            Some("psl") => Some(Discovery::PublicSuffixList),
            Some("treewalk") => Some(Discovery::TreeWalk),
            _ => None,
        },
    })
}

/// The values of one record, in order.
struct Record(Vec<(String, String)>);

impl Record {
    fn first(&self, path: &str) -> Option<&str> {
        let mut values = self.0.iter();
        let found = values.find(|(p, text)| p == path && !text.is_empty());
        found.map(|(_, text)| text.as_str())
    }

    /// The items of a list: for each, a look-up of its values.
    fn items(&self, path: &str) -> Vec<BTreeMap<&str, &str>> {
        let mut items: Vec<BTreeMap<&str, &str>> = Vec::new();
        for (p, text) in &self.0 {
            if p == path {
                // The mark of its beginning is empty; text of its own would not be.
                if text.is_empty() && items.len() < LIST_MAX {
                    items.push(BTreeMap::new());
                }
            } else if let Some(name) = p.strip_prefix(path).and_then(|p| p.strip_prefix('/'))
                && let Some(item) = items.last_mut()
            {
                item.entry(name).or_insert(text);
            }
        }
        items
    }

    fn row(&self) -> Option<Row> {
        let source: IpAddr = self.first("row/source_ip")?.parse().ok()?;
        let evaluated = |name: &str| self.first(&format!("row/policy_evaluated/{name}"));
        let identifier = |name: &str| self.first(&format!("identifiers/{name}"));
        let reasons = self.items("row/policy_evaluated/reason");
        Some(Row {
            source,
            disposition: match evaluated("disposition") {
                Some("pass") => Disposition::Pass,
                Some("quarantine") => Disposition::Quarantine,
                Some("reject") => Disposition::Reject,
                _ => Disposition::None,
            },
            dkim_aligned: evaluated("dkim") == Some("pass"),
            spf_aligned: evaluated("spf") == Some("pass"),
            overrides: reasons.iter().filter_map(reason).collect(),
            header_from: identifier("header_from").unwrap_or_default().to_owned(),
            envelope_from: identifier("envelope_from").map(str::to_owned),
            envelope_to: identifier("envelope_to").map(str::to_owned),
            dkim: self
                .items("auth_results/dkim")
                .iter()
                .map(signature)
                .collect(),
            spf: self.items("auth_results/spf").iter().map(spf).collect(),
        })
    }
}

fn reason(item: &BTreeMap<&str, &str>) -> Option<Override> {
    Some(Override {
        kind: OverrideKind::from_word(item.get("type")?)?,
        comment: owned(item, "comment").unwrap_or_default(),
    })
}

fn signature(item: &BTreeMap<&str, &str>) -> Signature {
    Signature {
        domain: owned(item, "domain").unwrap_or_default(),
        selector: owned(item, "selector"),
        verdict: verdict(item),
        reason: owned(item, "human_result"),
    }
}

fn spf(item: &BTreeMap<&str, &str>) -> Spf {
    Spf {
        domain: owned(item, "domain").unwrap_or_default(),
        helo: item.get("scope") == Some(&"helo"),
        verdict: verdict(item),
        reason: owned(item, "human_result"),
    }
}

fn owned(item: &BTreeMap<&str, &str>, name: &str) -> Option<String> {
    item.get(name).map(|&text| text.to_owned())
}

fn verdict(item: &BTreeMap<&str, &str>) -> Verdict {
    let word = item.get("result").copied().unwrap_or_default();
    match word {
        // Words of early implementations.
        "hardfail" => Verdict::Fail,
        "error" | "temperr" => Verdict::Temperror,
        "unknown" | "permerr" => Verdict::Permerror,
        word => word.parse().unwrap_or(Verdict::None),
    }
}
