//! Obstacles to a start: every refusal once, with its fix, and none if all is well.

use wal2graph::{
    catalog::{Catalog, Table, TableKind, TableName},
    change::Timestamp,
    checkpoint::{Checkpoint, Epoch, Log, Origin, Position, TopicPartition},
    lsn::{Lsn, Stamp},
    mapping::{Edits, Mapping, compile},
    start::{
        Again, Difference, Facts, Names, Publication, Refusal, Refusals, Server, Slot, System,
        TableFacts, TableRights, Timelines, Written, generation, origin,
        shape::{ColumnTrace, Trace},
        slot::{Foreign, Lost, SlotState},
        tables::{Now, PublicationIs, TableIs, Wanted, Way},
    },
};

use crate::mapping::catalogs::{TableExt, catalog, customers, name, orders, table};

/// All facts, in the state of a pipeline that continues.
struct World {
    names: Names,
    server: Server,
    system: Option<System>,
    slot: Option<Slot>,
    publication: Option<Publication>,
    rights: Vec<TableRights>,
    catalog: Catalog,
    mapping: Mapping,
    checkpoint: Option<Checkpoint>,
    tables_now: Option<Now>,
    through_topic: bool,
}

fn checkpoint(lsn: u64, digest: String) -> Checkpoint {
    Checkpoint {
        position: Position::at(Lsn(lsn)),
        lsn: Lsn(lsn),
        replaying: None,
        last_change: None,
        last_record: None,
        newest: None,
        publication: None,
        epoch: Epoch(1),
        committed_at: None,
        updated_at: Timestamp { unix_micros: 0 },
        origin: Origin {
            system_identifier: "7".to_owned(),
            timeline: 1,
            log: Log::Slot("wal2graph_shop".to_owned()),
        },
        partitions: 1,
        mapping_digest: digest,
        topic_id: None,
        is_whole: false,
        publisher: None,
        labels: vec!["Gone".to_owned()],
        table_facts: None,
        outlines: None,
        mapping_file: None,
        stopped: None,
    }
}

impl World {
    fn of(tables: Vec<Table>) -> Self {
        let catalog = catalog(tables);
        let mapping = compile(&catalog, &Edits::default()).expect("a mapping");
        let tables: Vec<TableName> = mapping.published_tables().cloned().collect();
        let right = |table: &TableName| TableRights {
            table: table.clone(),
            owner: "boss".to_owned(),
            owner_is_superuser: false,
            may_use_schema: true,
            may_read: true,
            is_owner: true,
            rows_hidden: false,
        };
        World {
            names: Names {
                pipeline: "shop".to_owned(),
                slot: "wal2graph_shop".to_owned(),
                publication: "wal2graph_shop".to_owned(),
                database: "shop".to_owned(),
            },
            server: Server {
                version: 150_000,
                wal_level: "logical".to_owned(),
                slots: (10, 1),
                senders: (10, 1),
                sender_timeout_ms: 60_000,
                database: "shop".to_owned(),
                role: "cdc".to_owned(),
                may_replicate: true,
                has_rds_role: false,
                wants_failover: false,
                may_create: true,
                in_recovery: false,
            },
            system: Some(System {
                identifier: "7".to_owned(),
                timeline: 1,
                flushed: Lsn(9_000),
                before: Timelines::default(),
            }),
            slot: Some(slot(100)),
            rights: tables.iter().map(right).collect(),
            publication: Some(Publication {
                tables,
                all_operations: true,
                via_root: true,
                all_tables: false,
            }),
            checkpoint: Some(checkpoint(200, mapping.digest())),
            catalog,
            mapping,
            tables_now: None,
            through_topic: false,
        }
    }

    fn shop() -> Self {
        World::of(vec![customers(), orders()])
    }

    /// Before the first start.
    fn new() -> Self {
        World { slot: None, publication: None, checkpoint: None, ..World::shop() }
    }

    fn with(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self);
        self
    }

    fn refusals(&self) -> Vec<Refusal> {
        let labels = self.mapping.labels().into_iter().collect();
        let again = match self.through_topic {
            false => Again::FromTables,
            true => Again::WithTopic {
                pipeline: self.names.pipeline.clone(),
                labels,
                topics: Written::One("wal2graph.shop".to_owned()),
                slot: self.names.slot.clone(),
            },
        };
        let facts = Facts {
            names: &self.names,
            server: &self.server,
            system: self.system.as_ref(),
            slot: self.slot.as_ref(),
            publication: self.publication.as_ref(),
            tables: &self.rights,
            mapped: Some((&self.catalog, &self.mapping)),
            tables_now: self.tables_now.as_ref(),
            checkpoints: self.checkpoint.as_slice(),
            through_topic: self.through_topic,
            follows: false,
            again: &again,
        };
        facts.refusals()
    }

    /// The only one.
    #[track_caller]
    fn said(&self) -> String {
        let refusals = self.refusals();
        let [only] = &refusals[..] else { panic!("{refusals:#?}") };
        assert_has_a_fix(only);
        only.to_string()
    }
}

fn slot(confirmed: u64) -> Slot {
    Slot {
        logical: true,
        plugin: Some("pgoutput".to_owned()),
        database: Some("shop".to_owned()),
        confirmed: Some(Lsn(confirmed)),
        wal_status: Some("reserved".to_owned()),
        ..Slot::default()
    }
}

/// In JSON, cause and fix are separate fields.
#[track_caller]
fn assert_has_a_fix(refusal: &Refusal) {
    let (text, (what, fix)) = (refusal.to_string(), refusal.parts());
    let fix = fix.expect("a fix");
    assert!(text.starts_with(&what) && text.ends_with(&fix), "{text}");
    assert!(!what.is_empty() && text.len() - what.len() - fix.len() <= 2, "{what:?} {fix:?}");
}

#[track_caller]
fn assert_said(world: World, words: &[&str]) {
    let said = world.said();
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn where_all_is_well_nothing_is_said() {
    assert_eq!(World::shop().refusals(), []);
    assert_eq!(World::new().refusals(), []);
}

#[test]
fn postgresql_19_was_refused_with_its_default_wal_level() {
    for (version, wal_level, is_enough) in [
        (140_000, "logical", true),
        (180_004, "replica", false),
        (180_004, "minimal", false),
        (190_000, "replica", true),
        (190_000, "logical", true),
        (190_000, "minimal", false),
    ] {
        let world = World::new().with(|it| {
            it.server.version = version;
            it.server.wal_level = wal_level.to_owned();
        });
        match is_enough {
            true => assert_eq!(world.refusals(), [], "{version} {wal_level}"),
            false => assert_said(world, &["ALTER SYSTEM SET wal_level = logical, then restart"]),
        }
    }
}

#[test]
fn a_source_that_was_put_back_to_an_older_state_is_refused() {
    let world =
        |flushed| World::shop().with(|it| it.system.as_mut().unwrap().flushed = Lsn(flushed));
    assert_said(world(199), &["put back to an older state", "0/C7", "repair --new-slot"]);
    assert_eq!(world(200).refusals(), [], "exactly there");
    // The graph is at the start of a page of which the source has only the header, or the other way
    // round.
    let page = |checkpoint: u64, flushed: u64| {
        let digest = World::shop().mapping.digest();
        world(flushed).with(|it| it.checkpoint = Some(self::checkpoint(checkpoint, digest)))
    };
    assert_eq!(page(8_192, 8_192 + 24).refusals(), []);
    assert_eq!(page(8_192 + 24, 8_192).refusals(), []);
    assert_eq!(page(8_192 + 48, 8_192).refusals().len(), 1);
}

#[test]
fn another_history_is_refused_with_a_way_out_and_nothing_else_is_said_of_it() {
    let other = World::shop().with(|it| {
        it.system.as_mut().unwrap().identifier = "8".to_owned();
        it.slot = None;
    });
    assert_said(other, &["another cluster (8)", "made from (7)", "URL", "repair --new-slot"]);
    let promoted = World::shop().with(|it| it.system.as_mut().unwrap().timeline = 2);
    assert_said(promoted, &["timeline 2", "timeline 1", "promoted", "repair --new-slot"]);
}

/// The publisher refuses such a source. `check` and `status` must tell what the graph was built
/// from.
#[test]
fn the_history_of_a_graph_made_through_a_topic_was_not_compared() {
    let world = |change: fn(&mut World)| {
        let through_topic = World::shop().with(|it| {
            let at = TopicPartition { topic: "wal2graph.shop".to_owned(), partition: 0 };
            it.checkpoint.as_mut().unwrap().origin.log = Log::Partition(at);
            (it.through_topic, it.slot, it.publication) = (true, None, None);
        });
        through_topic.with(change)
    };
    assert_eq!(world(|_| {}).refusals(), [], "its publisher may have another slot");
    let put_back = world(|it| it.system.as_mut().unwrap().flushed = Lsn(199));
    assert_said(put_back, &["put back to an older state", "delete the topic wal2graph.shop"]);
    let promoted = world(|it| it.system.as_mut().unwrap().timeline = 2);
    assert_said(promoted, &["timeline 2", "publish a new topic"]);
    // The publisher goes over to it where it has everything: the graph is not further than the topic.
    let forked = |at: u64, change: fn(&mut Checkpoint)| {
        world(|_| {}).with(|it| {
            let before = Timelines::parse(&format!("1\t{}\tx\n", Lsn(at)));
            let system = it.system.as_mut().unwrap();
            (system.timeline, system.before) = (2, before);
            change(it.checkpoint.as_mut().unwrap());
        })
    };
    assert_eq!(forked(200, |_| {}).refusals(), []);
    assert_said(
        forked(199, |_| {}),
        &["the new timeline begins at 0/C7, and the graph is at 0/C8"],
    );
    let changed: fn(&mut Checkpoint) = |it| it.last_change = Some(Stamp::of_change(Lsn(200), 0));
    assert_eq!(forked(201, changed).refusals(), []);
    assert_said(forked(200, changed), &["timeline 2", "publish a new topic"]);
    let foreign = world(|it| {
        it.system.as_mut().unwrap().identifier = "8".to_owned();
        it.checkpoint.as_mut().unwrap().origin.system_identifier = String::new();
    });
    assert_eq!(foreign.refusals(), [], "Debezium's records have no history");
    let changed = world(|it| it.checkpoint.as_mut().unwrap().mapping_digest = "other".to_owned());
    assert_said(changed, &["the mapping has changed", "wal2graph replay --from earliest"]);
}

/// The topic's copy is as old as the topic: it has no values of a column that came later, and no changes that the
/// publication left out. To fill the graph from it again was advised, and left it wrong for good.
#[test]
fn a_graph_was_to_be_filled_again_from_a_topic_that_lacks_what_it_needs() {
    let world = |change: fn(&mut World)| {
        let through_topic = World::shop().with(|it| {
            let at = TopicPartition { topic: "wal2graph.shop".to_owned(), partition: 0 };
            it.checkpoint.as_mut().unwrap().origin.log = Log::Partition(at);
            it.through_topic = true;
        });
        through_topic.with(change)
    };
    let steps = [
        "Stop `wal2graph publish` and every `wal2graph apply`",
        "delete the topic wal2graph.shop",
        "SELECT pg_drop_replication_slot",
        "DETACH DELETE n",
        "Then start `wal2graph publish`, and `wal2graph apply`",
    ];
    for (cause, of) in [
        (
            "the mapping has changed",
            world(|it| {
                it.checkpoint.as_mut().unwrap().mapping_digest = "other".to_owned();
            }),
        ),
        ("misses operations", world(|it| it.publication.as_mut().unwrap().all_operations = false)),
        ("misses tables", world(|it| _ = it.publication.as_mut().unwrap().tables.pop())),
        ("is gone", world(|it| it.publication = None)),
    ] {
        let said = of.said();
        let mut rest = said.as_str();
        assert!(rest.contains(cause), "{said}");
        for step in steps {
            let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} in its place: {said}"));
            rest = &rest[at..];
        }
        // A topic that lacks changes can not stay, whatever the columns are.
        let may_stay = said.contains("The topic can stay only if");
        assert_eq!(may_stay, cause == "the mapping has changed", "{said}");
    }
}

#[test]
fn a_topic_of_debezium_has_no_history_to_compare() {
    let system = System {
        identifier: "7".to_owned(),
        timeline: 3,
        flushed: Lsn(10),
        before: Timelines::default(),
    };
    let made = origin::History { identifier: "", timeline: 0, lsn: Lsn(99), through: None };
    let again = Again::Topic { topics: Written::One("t".to_owned()), slot: "s".to_owned() };
    assert_eq!(origin::compare(made, &system, &again), None);
}

/// What is of the old timeline alone was lost with it: a position, a part of a transaction, a newest one.
#[test]
fn a_promoted_server_is_gone_on_with_where_the_graph_is_not_past_the_fork() {
    let through = |through: Option<u64>, history: &str| {
        let before = Timelines::parse(history);
        let system = System { identifier: "7".to_owned(), timeline: 3, flushed: Lsn(500), before };
        let (lsn, through) = (Lsn(90), through.map(Lsn));
        let made = origin::History { identifier: "7", timeline: 1, lsn, through };
        origin::compare(made, &system, &Again::FromTables)
    };
    let history = "1\t0/64\tno recovery target specified\n2\t0/C8\tx\n";
    assert_eq!(through(Some(90), history), None);
    assert_eq!(through(Some(100), history), None, "up to the fork");
    let after = through(Some(101), history).map(|it| it.to_string()).unwrap_or_default();
    assert!(after.contains("begins at 0/64, and the graph is at 0/65"), "{after}");
    assert!(after.contains("repair --new-slot"), "{after}");
    for (at, history) in [(Some(90), "2\t0/C8\tx\n"), (Some(90), ""), (None, history)] {
        assert!(through(at, history).is_some(), "{at:?} {history:?}");
    }
}

#[test]
fn what_a_slot_is_decides_what_is_said_of_it() {
    let state = |change: fn(&mut Slot)| {
        let mut slot = slot(1);
        change(&mut slot);
        slot.state("shop")
    };
    let foreign = SlotState::Foreign;
    assert_eq!(state(|_| {}), SlotState::Usable { confirmed: Lsn(1) });
    assert_eq!(state(|it| it.logical = false), foreign(Foreign::Physical));
    assert_eq!(
        state(|it| it.database = Some("other".to_owned())),
        foreign(Foreign::Database("other".to_owned()))
    );
    assert_eq!(
        state(|it| it.plugin = Some("test_decoding".to_owned())),
        foreign(Foreign::Plugin("test_decoding".to_owned()))
    );
    assert_eq!(state(|it| it.two_phase = true), foreign(Foreign::TwoPhase));
    assert_eq!(state(|it| it.temporary = true), foreign(Foreign::Temporary));
    assert_eq!(state(|it| it.wal_status = Some("lost".to_owned())), SlotState::Lost(Lost::Removed));
    for (word, lost) in [
        ("wal_removed", Lost::Removed),
        ("idle_timeout", Lost::Idle),
        ("wal_level_insufficient", Lost::WalLevel),
        ("rows_removed", Lost::Rows),
        ("of_the_future", Lost::Other("of_the_future".to_owned())),
    ] {
        let slot = Slot { invalidation: Some(word.to_owned()), ..slot(1) };
        assert_eq!(slot.state("shop"), SlotState::Lost(lost));
    }
    let made = Slot { confirmed: None, active_pid: Some(42), ..slot(1) };
    assert_eq!(made.state("shop"), SlotState::BeingMade { pid: Some(42) });
}

#[test]
fn a_slot_that_is_being_made_is_waited_for() {
    let made = Slot { confirmed: None, active_pid: Some(42), ..slot(1) };
    let refusals = World::new().with(|it| it.slot = Some(made)).refusals();
    let error = Refusals::check(refusals).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("process 42"), "{error}");
}

#[test]
fn somebody_elses_slot_is_left_alone_and_another_one_named() {
    for slot in [
        Slot { database: Some("other".to_owned()), ..slot(1) },
        Slot { plugin: Some("test_decoding".to_owned()), ..slot(1) },
        Slot { two_phase: true, ..slot(1) },
        Slot { logical: false, plugin: None, database: None, ..slot(1) },
    ] {
        let refusals = World::new().with(|it| it.slot = Some(slot)).refusals();
        let said = refusals.iter().map(Refusal::to_string).collect::<String>();
        assert!(said.contains("name another slot") && !said.contains("drop"), "{said}");
    }
}

#[test]
fn where_a_foreign_slot_is_was_judged_too_with_the_advice_to_drop_it() {
    for foreign in [
        Slot { plugin: Some("test_decoding".to_owned()), ..slot(201) },
        Slot { database: Some("other".to_owned()), ..slot(201) },
    ] {
        let world = World::shop().with(|it| it.slot = Some(foreign));
        let said = world.said();
        assert!(said.contains("leave it") && !said.contains("drop"), "{said}");
    }
}

#[test]
fn a_slot_without_the_changes_that_the_graph_lacks_is_refused() {
    assert_said(World::shop().with(|it| it.slot = None), &["is gone", "0/C8", "repair --new-slot"]);
    assert_said(World::shop().with(|it| it.slot = Some(slot(201))), &["ahead of the graph"]);
    let idle = Slot { invalidation: Some("idle_timeout".to_owned()), ..slot(1) };
    let idle = World::shop().with(|it| it.slot = Some(idle));
    assert_said(idle, &["idle_replication_slot_timeout", "repair --new-slot"]);
}

#[test]
fn a_publication_that_is_gone_takes_its_slot_along() {
    let gone = World::shop().with(|it| it.publication = None);
    assert_said(gone, &["younger", "repair --new-slot"]);
}

#[test]
fn a_table_that_was_out_of_the_publication_is_not_just_added_again() {
    let world = World::shop().with(|it| {
        let publication = it.publication.as_mut().unwrap();
        publication.tables.retain(|table| table.name != "orders");
    });
    let words = ["ADD TABLE ONLY \"public\".\"orders\"", "made again", "repair --new-slot"];
    assert_said(world.with(|_| {}), &words);
    let all = World::shop().with(|it| {
        let publication = it.publication.as_mut().unwrap();
        publication.tables.retain(|table| table.name != "orders");
        publication.all_tables = true;
    });
    let said = all.said();
    assert!(said.contains("skip: true") && !said.contains("ADD TABLE"), "{said}");
}

#[test]
fn operations_that_were_out_of_the_publication_were_lost_on_the_advice() {
    let without = |it: &mut World| it.publication.as_mut().unwrap().all_operations = false;
    let alter =
        "ALTER PUBLICATION \"wal2graph_shop\" SET (publish = 'insert, update, delete, truncate')";
    let words = [alter, "right only if no row changed", "repair --new-slot"];
    assert_said(World::shop().with(without), &words);
    let first = World::new().with(|it| it.publication = World::shop().publication).with(without);
    let said = first.said();
    assert!(said.ends_with(alter), "nothing is lost before the first copy: {said}");
}

#[test]
fn partitions_under_their_own_names_are_refused_with_the_statement_that_helps() {
    let root = table("sales", "id int4").pk("id").with(|it| it.kind = TableKind::Partitioned);
    let leaf = table("sales_1", "id int4").pk("id");
    let leaf =
        leaf.with(|it| it.kind = TableKind::Partition { root: name("sales"), holds_rows: true });
    let tables = |all_tables| {
        World::of(vec![root.clone(), leaf.clone()]).with(|it| {
            it.publication = Some(Publication {
                tables: vec![name("sales_1")],
                all_operations: true,
                via_root: false,
                all_tables,
            });
        })
    };
    for all_tables in [true, false] {
        let said = tables(all_tables).said();
        let fix = "ALTER PUBLICATION \"wal2graph_shop\" SET (publish_via_partition_root = true)";
        assert!(said.contains(fix) && !said.contains("ADD TABLE"), "{said}");
    }
}

#[test]
fn rights_that_are_missing_are_found_before_anything_is_made() {
    let world = |change: fn(&mut TableRights)| {
        World::new().with(|it| it.rights.iter_mut().for_each(change))
    };
    let not_owned = world(|it| it.is_owner = false);
    assert_said(
        not_owned,
        &["the ownership of", "GRANT \"boss\" TO \"cdc\"", "CREATE PUBLICATION"],
    );
    assert_said(
        world(|it| it.may_use_schema = false),
        &["GRANT USAGE ON SCHEMA \"public\" TO \"cdc\""],
    );
    assert_said(
        world(|it| it.may_read = false),
        &["GRANT SELECT ON \"public\".\"customers\", \"public\".\"orders\""],
    );
    assert_said(world(|it| it.rows_hidden = true), &["ALTER ROLE \"cdc\" BYPASSRLS"]);
    let may_not_create = World::new().with(|it| it.server.may_create = false);
    assert_said(may_not_create, &["GRANT CREATE ON DATABASE \"shop\" TO \"cdc\""]);
}

#[test]
fn a_role_was_to_be_made_a_member_of_a_superuser() {
    let world = World::new().with(|it| {
        it.server.may_create = false;
        for right in &mut it.rights {
            (right.is_owner, right.owner_is_superuser) = (false, true);
        }
    });
    let said = world.said();
    assert!(said.contains("CREATE PUBLICATION") && !said.contains("GRANT"), "{said}");
}

#[test]
fn two_alternatives_were_one_line_to_paste() {
    let said = World::new().with(|it| it.rights[0].is_owner = false).said();
    let create = said.lines().find(|line| line.contains("CREATE PUBLICATION")).unwrap();
    assert!(create.trim().starts_with("CREATE") && create.ends_with(';'), "{said}");
    let grant = said.lines().find(|line| line.contains("GRANT \"boss\"")).unwrap();
    assert!(grant.trim().starts_with("or, instead of that"), "{said}");
}

#[test]
fn a_failover_slot_is_refused_by_name_where_the_server_has_none() {
    let on = |version| {
        World::new().with(|it| {
            it.server.wants_failover = true;
            it.server.version = version;
        })
    };
    assert_said(on(160_011), &["source.failover", "PostgreSQL 16", "remove source.failover"]);
    assert_eq!(on(170_007).refusals(), []);
}

#[test]
fn a_role_of_amazon_rds_is_granted_what_it_has_there() {
    let world = World::new().with(|it| {
        it.server.may_replicate = false;
        it.server.has_rds_role = true;
    });
    assert_said(world, &["GRANT rds_replication TO \"cdc\""]);
}

#[test]
fn a_changed_mapping_names_the_lines_that_let_it_go_on() {
    let changed =
        World::shop().with(|it| it.checkpoint = Some(checkpoint(200, "other".to_owned())));
    assert_said(changed, &["skip: true", "exclude: [COLUMN]", "repair --new-slot"]);
}

#[test]
fn a_partition_that_was_detached_was_left_out_with_its_rows_in_the_graph() {
    let changed =
        World::shop().with(|it| it.checkpoint = Some(checkpoint(200, "other".to_owned())));
    assert_said(changed, &["only if the table or the column is new", "DETACH PARTITION"]);
}

#[test]
fn a_standby_is_said_to_be_one_and_nothing_else() {
    let standby = World::shop().with(|it| {
        it.server.in_recovery = true;
        (it.system, it.slot, it.publication) = (None, None, None);
    });
    assert_said(standby, &["standby"]);
}

#[test]
fn everything_is_said_at_once() {
    let refusals = World::new()
        .with(|it| {
            it.server.wal_level = "replica".to_owned();
            it.server.may_replicate = false;
        })
        .refusals();
    let error = Refusals::check(refusals).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("wal_level") && said.contains("ALTER ROLE \"cdc\" REPLICATION"),
        "{said}"
    );
    assert!(!error.is_transient());
}

/// What filling the graph of a topic again takes.
fn refilled<const N: usize>(labels: [&str; N]) -> String {
    let again = Again::WithTopic {
        pipeline: "shop".to_owned(),
        labels: labels.map(str::to_owned).into(),
        topics: Written::One("shop".to_owned()),
        slot: "shop".to_owned(),
    };
    again.to_string()
}

#[test]
fn names_in_a_copy_again_are_data() {
    let said = refilled(["It`s", "DROP"]);
    assert!(said.contains("MATCH (n:`DROP`|`It``s`) CALL (n)"), "{said}");
}

#[test]
fn a_label_with_a_line_end_could_not_be_pasted() {
    let said = refilled(["a\nb\u{1B}\\n", "c"]);
    assert!(said.contains(r"MATCH (n:`a\u000Ab\u001B\u005Cn`|`c`) CALL (n)"), "{said}");
}

/// A world whose checkpoint has the tables of the mapping, and the tables as `change` leaves them.
fn followed(change: impl FnOnce(&mut Now)) -> World {
    World::shop().with(|it| {
        let tables = Wanted::of(&it.mapping).into_iter().map(|wanted| TableIs {
            schema: wanted.name.schema,
            name: wanted.name.name,
            oid: wanted.oid,
            columns: wanted.columns.into_iter().zip(1..).collect(),
            key: wanted.key,
            by: vec![Way::Table(wanted.oid)],
            shape: None,
            definition: None,
            names: None,
            paused: None,
        });
        let publication =
            PublicationIs { name: it.names.publication.clone(), oid: 7, altered_by: None };
        let facts = TableFacts::new(Some(publication), tables.collect());
        it.checkpoint.as_mut().unwrap().table_facts = Some(facts.text());
        let mut now = Now {
            unmapped: Default::default(),
            paused: Default::default(),
            facts,
            traces: Vec::new(),
            in_recovery: false,
            all_operations: true,
            identities: Vec::new(),
        };
        change(&mut now);
        it.tables_now = Some(now);
    })
}

#[test]
fn a_table_that_left_the_publication_and_came_back_was_followed_on() {
    assert_eq!(followed(|_| {}).refusals(), []);
    let back = followed(|now| now.facts.tables[0].by = vec![Way::Table(1)]);
    let words =
        ["public.customers was taken out", "put back", "not in the graph", "repair --new-slot"];
    assert_said(back, &words);
    let seen = followed(|_| {}).with(|it| {
        let now = it.tables_now.as_ref().unwrap();
        let publication = it.names.publication.clone();
        let seen = [Difference::Operations { publication }];
        it.checkpoint.as_mut().unwrap().table_facts = Some(now.facts.having_seen(&seen).text());
    });
    assert_said(seen, &["did not have all of INSERT", "repair --new-slot"]);
    let unreadable = followed(|_| {})
        .with(|it| it.checkpoint.as_mut().unwrap().table_facts = Some("{}".to_owned()));
    assert_said(unreadable, &["`table_facts` of the checkpoint", "repair --new-slot"]);
}

/// The graph stayed without the new values. What a start had found was the tables' shape from then on.
#[test]
fn rewritten_values_were_taken_over_by_a_start_that_does_not_follow() {
    let shaped = |rewritten: bool| {
        followed(|_| {}).with(|it| {
            let now = it.tables_now.as_mut().unwrap();
            let trace = |table: &TableIs| {
                let column = |(name, number): (&String, &i16)| ColumnTrace {
                    name: name.clone(),
                    number: *number,
                    type_oid: 23,
                    xmin: 700,
                    has_default: false,
                };
                let numbers = table.columns.len() as i16;
                let columns = table.columns.iter().map(column).collect();
                Trace { columns, numbers, file: 5_000, ..Trace::default() }
            };
            now.traces = now.facts.tables.iter().map(trace).collect();
            let facts = generation::first(now, &it.mapping).text();
            it.checkpoint.as_mut().unwrap().table_facts = Some(facts);
            if rewritten {
                now.traces[0].file += 1;
                now.traces[0].columns.iter_mut().for_each(|column| column.xmin += 1);
            }
        })
    };
    assert_eq!(shaped(false).refusals(), []);
    let words = ["may have other values", "schema_changes: stop", "repair --new-slot"];
    assert_said(shaped(true), &words);
}

/// Adding it is not enough: so no word says that it may be.
#[test]
fn a_table_that_is_out_of_the_publication_is_put_back_and_copied_again() {
    let world = followed(|now| now.facts.tables[0].by.clear())
        .with(|it| it.publication.as_mut().unwrap().tables.retain(|it| it.name != "customers"));
    let said: Vec<String> = world.refusals().iter().map(Refusal::to_string).collect();
    let [copy, add] = &said[..] else { panic!("{said:#?}") };
    assert!(copy.contains("taken out of the publication") && copy.contains("repair --new-slot"));
    assert!(add.ends_with("ADD TABLE ONLY \"public\".\"customers\""), "{add}");
}

/// What somebody named by mistake would have been kept for good.
#[test]
fn the_tables_of_another_source_are_not_compared() {
    type Change = fn(&mut World);
    let others: [Change; 4] = [
        |it| it.system.as_mut().unwrap().identifier = "8".to_owned(),
        |it| it.slot.as_mut().unwrap().database = Some("other".to_owned()),
        |it| it.server.in_recovery = true,
        |it| it.through_topic = true,
    ];
    for other in others {
        let world = followed(|now| now.facts.tables.clear()).with(other);
        let tables = world.refusals().into_iter().filter(|it| matches!(it, Refusal::Tables(_)));
        assert_eq!(tables.count(), 0);
    }
}

#[test]
fn the_topics_of_a_pipeline_are_deleted_by_their_names_and_none_of_another_pipeline() {
    let of = |names: &[&str]| Written::OfTables {
        prefix: "shop".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        brokers: "b:1".to_owned(),
    };
    let known = of(&["shop.heartbeats", "shop.public.orders"]).pattern();
    assert_eq!(known, r"'shop\.heartbeats|shop\.public\.orders'");
    assert_eq!(of(&[]).pattern(), r"'shop\.(heartbeats|message|[^.]+\.[^.]+)'");
}
