//! What the checks have found, worst first.

use std::{cmp::Reverse, fmt::Write};

use crate::report::{Finding, Verdict};

use super::escaped::Escaped;

/// Findings that are shown; `wal2graph check` has the others.
const FINDINGS_MAX: usize = 30;

/// The findings, with their time.
pub fn checks(findings: &[Finding], at: &str) -> String {
    let count = |verdict| findings.iter().filter(|it| it.verdict == verdict).count();
    let [well, warnings, failures] = [Verdict::Ok, Verdict::Warning, Verdict::Failure].map(count);
    let (warned, failed) = (counted(warnings, "warning"), counted(failures, "failure"));
    let (class, said) = match (failures, warnings) {
        (0, 0) => ("good", "all is well".to_owned()),
        (0, _) => ("warn", warned),
        (_, 0) => ("bad", failed),
        _ => ("bad", format!("{failed}, {warned}")),
    };
    let mut body = format!(
        "<p><b class={class}>{said}</b> <span class=soft>at {}, as wal2graph check has them beside a program that \
         runs</span></p><ul class=checks>",
        Escaped(at)
    );
    let mut others: Vec<&Finding> =
        findings.iter().filter(|it| it.verdict != Verdict::Ok).collect();
    others.sort_by_key(|it| Reverse(it.verdict));
    others.iter().take(FINDINGS_MAX).for_each(|it| body += &item(it));
    body += "</ul>";
    if others.len() > FINDINGS_MAX {
        let more = others.len() - FINDINGS_MAX;
        let _ = write!(body, "<p class=soft>and {more} more: wal2graph check</p>");
    }
    let all: String = findings.iter().filter(|it| it.verdict == Verdict::Ok).map(item).collect();
    let _ = write!(
        body,
        "<details id=well><summary>{well} well</summary><ul class=checks>{all}</ul></details>"
    );
    body
}

fn counted(number: usize, word: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {word}{end}")
}

fn item(Finding { verdict, what, fix }: &Finding) -> String {
    let (class, word) = match verdict {
        Verdict::Ok => ("good", "ok"),
        Verdict::Warning => ("warn", "warning"),
        Verdict::Failure => ("bad", "failure"),
    };
    let fix = fix.as_ref().map(|fix| format!("<div class=soft>fix: {}</div>", Escaped(fix)));
    format!("<li><b class={class}>{word}</b> {}{}", Escaped(what), fix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::report::Findings;

    use super::checks;

    #[test]
    fn the_worst_comes_first_and_nothing_of_it_is_markup() {
        let mut found = Findings::default();
        found.ok("it answers");
        assert!(checks(&found.findings, "now").contains("<b class=good>all is well</b>"));
        found.advice("little <room>", "make & mend");
        let warned = checks(&found.findings, "now");
        assert!(warned.contains("<b class=warn>1 warning</b>"), "{warned}");
        assert!(
            warned.contains("little &lt;room&gt;<div class=soft>fix: make &amp; mend"),
            "{warned}"
        );
        found.failed("it is gone", None);
        let failed = checks(&found.findings, "now");
        assert!(failed.contains("<b class=bad>1 failure, 1 warning</b>"), "{failed}");
        assert!(failed.find("it is gone") < failed.find("little"), "{failed}");
        assert!(failed.contains("<summary>1 well</summary>"), "{failed}");
    }

    #[test]
    fn of_very_many_findings_the_page_has_some() {
        let mut found = Findings::default();
        (0..100).for_each(|number| found.warning(format!("warning {number}")));
        let page = checks(&found.findings, "now");
        assert_eq!(page.matches("<li>").count(), super::FINDINGS_MAX, "{page}");
        assert!(page.contains("and 70 more: wal2graph check"), "{page}");
    }
}
