//! What `sandbox lab check` found, as a page and as JSON.
//!
//! Pure. One table for each kind of probe: rows send, columns are reached or not.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::spec::Probe;
use super::topology::{Claim, Reach, Topology};

/// One claim, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was claimed.
    pub claim: Claim,
    /// What is so.
    pub found: Reach,
    /// More about it, for people: which address, which error.
    pub detail: String,
}

/// Every claim of a lab, with what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    findings: Vec<Finding>,
    nodes: Vec<String>,
}

impl Matrix {
    /// What was found of the claims of `topology`.
    #[must_use]
    pub fn new(topology: &Topology, findings: Vec<Finding>) -> Self {
        let nodes = topology.nodes.iter().map(|node| node.name.clone());
        Self {
            findings,
            nodes: nodes.collect(),
        }
    }

    /// Whether everything is as claimed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.differing().next().is_none()
    }

    /// Every claim with what was found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Those that are not as claimed.
    pub fn differing(&self) -> impl Iterator<Item = &Finding> {
        let differs = |finding: &&Finding| finding.found != finding.claim.expected;
        self.findings.iter().filter(differs)
    }

    /// For people: the tables, and a line for each claim that is not so.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = String::new();
        let mut probes: Vec<Probe> = Vec::new();
        for finding in &self.findings {
            if !probes.contains(&finding.claim.probe) {
                probes.push(finding.claim.probe);
            }
        }
        for probe in probes {
            page.push_str(&self.table(probe));
            page.push('\n');
        }
        for finding in self.differing() {
            let Finding { claim, detail, .. } = finding;
            let is = match finding.found {
                Reach::Reached => "reaches",
                Reach::Unreached => "does not reach",
            };
            let detail = match detail.as_str() {
                "" => String::new(),
                detail => format!(" ({detail})"),
            };
            page.push_str(&format!(
                "line {}: {} {is} {} by {}{detail}\n",
                claim.line,
                self.name(claim.from),
                self.target(claim),
                claim.probe,
            ));
        }
        let wrong = self.differing().count();
        page.push_str(&match (self.findings.len(), wrong) {
            (0, _) => "nothing is claimed: see [check]\n".to_owned(),
            (all, 0) => format!("{all} claims, all of them so\n"),
            (all, wrong) => format!("{all} claims, {wrong} of them not so\n"),
        });
        page
    }

    fn table(&self, probe: Probe) -> String {
        let here = || {
            self.findings
                .iter()
                .filter(|found| found.claim.probe == probe)
        };
        let columns: Vec<String> = here()
            .map(|found| self.target(&found.claim))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let rows: BTreeSet<usize> = here().map(|found| found.claim.from).collect();
        let names = rows.iter().map(|&row| self.name(row).len());
        let corner = probe.to_string();
        let first = names.chain([corner.len()]).max().unwrap_or_default();
        let mut page = format!("{corner:first$}");
        for column in &columns {
            page.push_str(&format!("  {column:>6}"));
        }
        page.push('\n');
        for row in rows {
            page.push_str(&format!("{:first$}", self.name(row)));
            for column in &columns {
                let cell = here()
                    .find(|found| found.claim.from == row && self.target(&found.claim) == *column);
                let word = match cell.map(|cell| (cell.claim.expected, cell.found)) {
                    None => ".",
                    Some((Reach::Reached, Reach::Reached)) => "yes",
                    Some((Reach::Unreached, Reach::Unreached)) => "no",
                    Some((Reach::Reached, Reach::Unreached)) => "NO",
                    Some((Reach::Unreached, Reach::Reached)) => "YES",
                };
                let width = column.len().max(6);
                page.push_str(&format!("  {word:>width$}"));
            }
            page.push('\n');
        }
        page
    }

    fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("?", String::as_str)
    }

    fn target(&self, claim: &Claim) -> String {
        let address = || claim.addresses.first().map(ToString::to_string);
        match claim.to {
            Some(node) => self.name(node).to_owned(),
            None => address().unwrap_or_default(),
        }
    }

    /// For programs: one object a claim.
    #[must_use]
    pub fn json(&self) -> Json {
        let word = |reach: Reach| reach == Reach::Reached;
        let findings = self.findings.iter().map(|finding| {
            json!({
                "line": finding.claim.line,
                "from": self.name(finding.claim.from),
                "to": self.target(&finding.claim),
                "probe": finding.claim.probe.to_string(),
                "expected": word(finding.claim.expected),
                "found": word(finding.found),
                "detail": finding.detail,
            })
        });
        json!({ "holds": self.holds(), "claims": findings.collect::<Vec<_>>() })
    }
}
