//! What a mapping makes of the tables: the inferred one, and random ones with their files.

use fastrand::Rng;

/// Which way a relationship points, and its type.
#[derive(Clone, Debug)]
pub struct Arrow {
    pub name: String,
    pub is_in: bool,
}

/// What the rows of the join table are.
#[derive(Clone, Debug)]
pub enum Members {
    Relationships(String),
    Nodes { label: String, person: String, team: String },
}

/// The names in the graph; `None`: it is not there.
#[derive(Clone, Debug)]
pub struct Model {
    /// The configuration file.
    pub file: String,
    pub person: String,
    pub team: String,
    pub task: String,
    pub name: Option<String>,
    pub bio: Option<String>,
    pub boss_id: Option<String>,
    pub owner_id: Option<String>,
    pub role: Option<String>,
    pub boss: Option<Arrow>,
    pub task_team: Option<Arrow>,
    /// A reference without a foreign key.
    pub owner: Option<Arrow>,
    pub members: Members,
}

impl Model {
    /// Without a file.
    pub fn inferred(prefix: &str) -> Self {
        let label = |singular: &str| format!("{}{singular}", camel(prefix));
        let same = |column: &str| Some(column.to_owned());
        let out = |name: &str| Some(Arrow { name: name.to_owned(), is_in: false });
        Model {
            file: String::new(),
            person: label("Person"),
            team: label("Team"),
            task: label("Task"),
            name: same("name"),
            bio: same("bio"),
            boss_id: same("boss_id"),
            owner_id: same("owner_id"),
            role: same("role"),
            boss: out("BOSS"),
            task_team: out("TEAM"),
            owner: None,
            members: Members::Relationships(format!("{}_MEMBERS", prefix.to_uppercase())),
        }
    }

    /// With a file that edits at random, one thing at a time.
    pub fn random(prefix: &str, rng: &mut Rng) -> Self {
        let mut model = Model::inferred(prefix);
        let mut file = String::from("mapping:\n");
        let has_keys = rng.bool();
        file += &format!("  foreign_key_properties: {has_keys}\n");
        if rng.bool() {
            file += &format!("  include: [public]\n  exclude: [auth, 'public.{prefix}_x*']\n");
        }
        let (is_camel, is_stripped, is_marked) = (rng.bool(), rng.bool(), rng.bool());
        let label = format!("{}{{name}}", camel(prefix));
        file += &format!(
            "  naming: {{properties: {}, strip_prefix: [{}], labels: '{}', types: '{}'}}\ntables:\n",
            if is_camel { "camelCase" } else { "as_is" },
            if is_stripped { format!("{prefix}_") } else { String::new() },
            if is_stripped { &label } else { "{name}" },
            if is_marked { "T_{name}" } else { "{name}" },
        );
        let typed = |name: &str| if is_marked { format!("T_{name}") } else { name.to_owned() };
        let called = |column: &str| Some(if is_camel { lower(column) } else { column.to_owned() });
        for arrow in [&mut model.boss, &mut model.task_team].into_iter().flatten() {
            arrow.name = typed(&arrow.name);
        }
        model.boss_id = called("boss_id");
        model.owner_id = called("owner_id");
        if rng.bool() {
            file +=
                &format!("  'public.{prefix}_*': {{properties: {{bio: false, none: false}}}}\n");
            model.bio = None;
        }
        file += &model.people(prefix, has_keys, rng);
        file += &model.tasks(prefix, has_keys, typed("OWNER"), rng);
        let members = match is_stripped {
            true => typed("MEMBERS"),
            false => typed(&format!("{}_MEMBERS", prefix.to_uppercase())),
        };
        file += &model.of_members(prefix, members, &typed, rng);
        Model { file, ..model }
    }

    fn people(&mut self, prefix: &str, has_keys: bool, rng: &mut Rng) -> String {
        let mut edits = Vec::new();
        if rng.bool() {
            self.person = format!("{}Human", camel(prefix));
            edits.push(format!("label: {}", self.person));
        }
        let name = match rng.u8(0..3) {
            0 => {
                self.name = Some("full_name".to_owned());
                "name: full_name"
            }
            1 => {
                self.name = None;
                "name: false"
            }
            _ => "name: true",
        };
        let mut properties = vec![name.to_owned()];
        let edit = arrow("boss_id", &mut self.boss, rng);
        // A column that refers to nothing is a property like any other.
        self.boss_id = self.boss_id.take().filter(|_| has_keys || self.boss.is_none());
        if rng.u8(0..3) == 0 {
            self.boss_id = Some("chief".to_owned());
            properties.push("boss_id: chief".to_owned());
        }
        edits.push(format!("properties: {{{}}}", properties.join(", ")));
        edits.extend(edit);
        format!("  public.{prefix}_people: {{{}}}\n", edits.join(", "))
    }

    fn tasks(&mut self, prefix: &str, has_keys: bool, owner: String, rng: &mut Rng) -> String {
        let mut entries: Vec<String> = Vec::new();
        if rng.bool() {
            entries.push(format!("owner_id: {{to: public.{prefix}_people}}"));
            self.owner = Some(Arrow { name: owner, is_in: false });
            self.owner_id = self.owner_id.take().filter(|_| has_keys);
        }
        if rng.u8(0..3) == 0 {
            self.task_team = Some(Arrow { name: "HAS".to_owned(), is_in: true });
            entries.push(format!("{prefix}_tasks_team_id_fkey: {{type: HAS, direction: in}}"));
        }
        format!("  public.{prefix}_tasks: {{relationships: {{{}}}}}\n", entries.join(", "))
    }

    fn of_members(
        &mut self,
        prefix: &str,
        inferred: String,
        typed: &impl Fn(&str) -> String,
        rng: &mut Rng,
    ) -> String {
        let mut edits = Vec::new();
        self.members = match rng.u8(0..3) {
            0 => Members::Relationships(inferred),
            1 => {
                edits.push("relationship: {type: IN}".to_owned());
                Members::Relationships("IN".to_owned())
            }
            _ => {
                let label = format!("{}Membership", camel(prefix));
                edits.push(format!("label: {label}, relationships: {{team_id: OF}}"));
                Members::Nodes { label, person: typed("PERSON"), team: "OF".to_owned() }
            }
        };
        if rng.bool() {
            self.role = Some("as".to_owned());
            edits.push("properties: {role: as}".to_owned());
        }
        format!("  public.{prefix}_members: {{{}}}\n", edits.join(", "))
    }
}

/// An edit of the relationship of a column, or none.
fn arrow(column: &str, arrow: &mut Option<Arrow>, rng: &mut Rng) -> Option<String> {
    let edit = match rng.u8(0..4) {
        0 => {
            *arrow = None;
            "false".to_owned()
        }
        1 => {
            *arrow = Some(Arrow { name: "LEADS".to_owned(), is_in: true });
            "{type: LEADS, direction: in}".to_owned()
        }
        2 => {
            *arrow = Some(Arrow { name: "FOLLOWS".to_owned(), is_in: false });
            "FOLLOWS".to_owned()
        }
        _ => return None,
    };
    Some(format!("relationships: {{{column}: {edit}}}"))
}

fn camel(prefix: &str) -> String {
    let mut letters = prefix.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    format!("{}{}", first.collect::<String>(), letters.as_str())
}

/// `boss_id` in camel case.
fn lower(column: &str) -> String {
    let mut parts = column.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &camel(part))
}
