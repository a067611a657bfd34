//! What a plan may be made of.

use serde_json::Value as Json;

/// Look-ups of single entities by an index, and what needs no look-up.
const LEAVES: [&str; 10] = [
    "Argument",
    "Unwind",
    "EmptyRow",
    "Create",
    "NodeUniqueIndexSeek",
    "NodeUniqueIndexSeek(Locking)",
    "NodeIndexSeek",
    "DirectedRelationshipIndexSeek",
    "MergeUniqueNode",
    "MergeInto",
];
/// Finds at most one node.
const UNIQUE_SEEKS: [&str; 3] = ["NodeUniqueIndexSeek", "NodeUniqueIndexSeek(Locking)", "Argument"];

/// What one statement may do beyond seeking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// All relationships of these variables may be walked: they are few, or all are wanted, or the
    /// first one ends it.
    pub walks: &'static [&'static str],
    /// Leaves beyond look-ups, because there is no key to look up.
    pub scans: &'static [&'static str],
    /// Rows may be held back before the statement goes on.
    pub eager: bool,
}

/// Seeks, and no more.
pub const SEEKS: Rule = Rule { walks: &[], scans: &[], eager: false };

/// An operator with what is below it.
pub struct Plan(Json);

impl Plan {
    pub fn new(plan: Json) -> Self {
        assert!(plan["operatorType"].is_string(), "no plan: {plan}");
        Plan(plan)
    }

    /// Everything in the plan that the rule does not allow.
    pub fn violations(&self, rule: Rule) -> Vec<String> {
        let mut found = Vec::new();
        each(&self.0, &mut |operator| found.extend(violation(operator, rule)));
        found
    }

    /// The operators, as the server prints a plan.
    pub fn draw(&self) -> String {
        let mut text = String::new();
        draw(&self.0, 0, &mut text);
        text
    }
}

fn each<'a>(plan: &'a Json, see: &mut impl FnMut(&'a Json)) {
    see(plan);
    for child in children(plan) {
        each(child, see);
    }
}

fn children(plan: &Json) -> impl Iterator<Item = &Json> {
    plan["children"].as_array().into_iter().flatten()
}

/// The operator's name without the database's.
fn name(plan: &Json) -> &str {
    plan["operatorType"].as_str().expect("an operator").split('@').next().unwrap_or_default()
}

fn details(plan: &Json) -> &str {
    plan["args"]["Details"].as_str().unwrap_or_default()
}

fn violation(plan: &Json, rule: Rule) -> Option<String> {
    let name = name(plan);
    let leaf = children(plan).next().is_none();
    let wrong = match name {
        _ if rule.scans.contains(&name) => false,
        // "(c)-[o:TYPE]->(p)": from the first to the second.
        "Expand(All)" | "OptionalExpand(All)" => {
            let from = details(plan).trim_start_matches('(').split(')').next().unwrap_or_default();
            !rule.walks.contains(&from)
        }
        "VarLengthExpand(All)" => true,
        "CartesianProduct" => children(plan).filter(|side| !finds_one(side)).count() > 1,
        "Eager" => !rule.eager,
        "Sort" | "Top" | "PartialSort" => true,
        _ => leaf && !LEAVES.contains(&name),
    };
    wrong.then(|| format!("{name} {}", details(plan)))
}

/// A look-up of one, and what is asked of it.
fn finds_one(plan: &Json) -> bool {
    match name(plan) {
        "Filter" | "Optional" | "Apply" | "CartesianProduct" => children(plan).all(finds_one),
        name => UNIQUE_SEEKS.contains(&name),
    }
}

fn draw(plan: &Json, depth: usize, text: &mut String) {
    *text += &format!("{}{} {}\n", "  ".repeat(depth), name(plan), details(plan));
    for child in children(plan) {
        draw(child, depth + 1, text);
    }
}
