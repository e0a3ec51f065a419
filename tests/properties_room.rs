//! Properties of the room: what holds after any sequence of events.

use jiff::Timestamp;
use proptest::prelude::*;
use smolchat::limits::{Limits, MAX_REFUSALS_IN_A_ROW};
use smolchat::protocol::{Refusal, Request};
use smolchat::room::{EventKind, Outcome, Reply, Room, UserId};
use std::collections::HashSet;

#[derive(Clone, Debug)]
enum Step {
    Enter(u16),
    Leave(usize),
    Ask(usize, Request),
    Refuse(usize),
}

const MOST_USERS: usize = 5;
const MOST_MESSAGES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![
        "[ab]{1,2}",
        Just("[Server]".to_owned()),
        Just(" x ".to_owned())
    ];
    let request = prop_oneof![
        "[a-z]{1,5}".prop_map(|text| Request::Say(text.into())),
        name.prop_map(|name| Request::SetName(name.into())),
        Just(Request::History),
        Just(Request::Users),
    ];
    prop_oneof![
        2 => (1u16..1000).prop_map(Step::Enter),
        1 => (0usize..8).prop_map(Step::Leave),
        6 => (0usize..8, request).prop_map(|(user, request)| Step::Ask(user, request)),
        2 => (0usize..8).prop_map(Step::Refuse),
    ]
}

/// What the room should be, kept in the simplest way.
#[derive(Default)]
struct Model {
    users: Vec<(UserId, String, u32)>,
    said: Vec<(String, String)>,
    events: u64,
}

impl Model {
    fn check(&self, room: &Room) {
        let names: Vec<String> = room.users().map(|(name, _)| name.to_string()).collect();
        let expected: Vec<String> = self.users.iter().map(|(_, name, _)| name.clone()).collect();
        assert_eq!(names, expected, "in order of arrival");
        let unique: HashSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!(unique.len(), names.len(), "no two have one name");
        assert!(names.len() <= MOST_USERS);
        assert_eq!(
            room.last_event(),
            self.events,
            "each public event has the next number"
        );
        let kept: Vec<(String, String)> = room
            .history()
            .messages()
            .map(|message| (message.source.to_string(), message.text.to_string()))
            .collect();
        let from = self.said.len().saturating_sub(MOST_MESSAGES);
        assert_eq!(
            kept,
            self.said[from..],
            "the newest are kept, as they were said"
        );
    }

    /// Takes in what came of a step of this user.
    fn take(&mut self, index: usize, outcome: Outcome) -> bool {
        let (_, name, refusals) = &mut self.users[index];
        match outcome {
            Outcome::Public(event) => {
                self.events += 1;
                assert_eq!(event.id, self.events);
                *refusals = 0;
                match event.kind {
                    EventKind::Said(message) => {
                        assert_eq!(message.source.as_str(), name);
                        assert_eq!(message.id, event.id);
                        self.said.push((name.clone(), message.text.to_string()));
                    }
                    EventKind::Renamed { old, new } => {
                        assert_eq!(old.as_str(), name);
                        *name = new.to_string();
                    }
                    other => panic!("a request never brings {other:?}"),
                }
            }
            Outcome::Reply(Reply::History(messages)) => {
                *refusals = 0;
                assert!(!messages.is_empty() && messages.len() <= MOST_MESSAGES);
            }
            Outcome::Reply(Reply::Users(names)) => {
                *refusals = 0;
                assert_eq!(names.len(), self.users.len());
            }
            Outcome::Reply(Reply::Notice(sentence)) => {
                let accepted =
                    sentence.starts_with("Your name is already") || sentence == "No messages yet";
                *refusals = if accepted { 0 } else { *refusals + 1 };
                assert!(*refusals <= MAX_REFUSALS_IN_A_ROW);
            }
            Outcome::Close(_) => {
                assert_eq!(*refusals, MAX_REFUSALS_IN_A_ROW);
                return false;
            }
        }
        true
    }

    fn remove(&mut self, room: &mut Room, index: usize, now: Timestamp) {
        let (user, name, _) = self.users.remove(index);
        let event = room.leave(user, now).expect("the user was here");
        self.events += 1;
        assert!(matches!(event.kind, EventKind::Left { name: left, .. } if left.as_str() == name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_room_is_what_the_model_says(steps in prop::collection::vec(step(), 1..80)) {
        let limits = Limits {
            max_clients: MOST_USERS,
            history_messages: MOST_MESSAGES,
            ..Limits::default()
        };
        let mut room = Room::new(limits);
        let mut model = Model::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut ports = HashSet::new();
        for step in steps {
            match step {
                Step::Enter(port) if !ports.insert(port) => {}
                Step::Enter(port) => match room.enter(([127, 0, 0, 1], port).into(), now) {
                    Ok((user, event)) => {
                        model.events += 1;
                        prop_assert_eq!(event.id, model.events);
                        model.users.push((user, format!("127.0.0.1:{port}"), 0));
                    }
                    Err(_) => prop_assert_eq!(model.users.len(), MOST_USERS),
                },
                Step::Leave(index) if index < model.users.len() => model.remove(&mut room, index, now),
                Step::Ask(index, request) if index < model.users.len() => {
                    let outcome = room.request(model.users[index].0, request, now);
                    if !model.take(index, outcome.expect("the user is here")) {
                        model.remove(&mut room, index, now);
                    }
                }
                Step::Refuse(index) if index < model.users.len() => {
                    let outcome = room.refuse(model.users[index].0, &Refusal::NotJson);
                    if !model.take(index, outcome.expect("the user is here")) {
                        model.remove(&mut room, index, now);
                    }
                }
                Step::Leave(_) | Step::Ask(..) | Step::Refuse(_) => {}
            }
            model.check(&room);
        }
    }
}
