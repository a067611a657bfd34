//! What a check finds.

use schemars::JsonSchema;
use serde::Serialize;

use crate::start::Refusal;

/// What one check finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// What is so, and why that matters.
    pub what: String,
    /// What to do about it: SQL, a setting, a change of the file; null: nothing, or `what` has it.
    pub fix: Option<String>,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Well.
    Ok,
    /// It works, and somebody should know this.
    Warning,
    /// It does not work, or the next start will not.
    Failure,
}

/// What checks have found, in their order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// All of it.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// It is well.
    pub fn ok(&mut self, what: impl Into<String>) {
        self.add(Verdict::Ok, what.into(), None);
    }

    /// It works.
    pub fn warning(&mut self, what: impl Into<String>) {
        self.add(Verdict::Warning, what.into(), None);
    }

    /// A warning with something to do about it.
    pub fn advice(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Verdict::Warning, what.into(), Some(fix.into()));
    }

    /// It does not work.
    pub fn failure(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.failed(what, Some(fix.into()));
    }

    /// A failure; without a fix it says itself what to do.
    pub fn failed(&mut self, what: impl Into<String>, fix: Option<String>) {
        self.add(Verdict::Failure, what.into(), fix);
    }

    /// What a start would refuse.
    pub fn refused(&mut self, refusal: &Refusal) {
        let (what, fix) = refusal.parts();
        let verdict = if refusal.is_transient() { Verdict::Warning } else { Verdict::Failure };
        self.add(verdict, what, fix);
    }

    /// Any of them.
    pub fn add(&mut self, verdict: Verdict, what: String, fix: Option<String>) {
        self.findings.push(Finding { verdict, what, fix });
    }

    /// How many have failed.
    pub fn failures(&self) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Failure).count()
    }
}
