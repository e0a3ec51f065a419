//! Requests of users.

use super::{Model, Person, collide, parsed};
use smolchat::chat::error::RequestError;
use smolchat::chat::event::{EventKind, LeaveReason};
use smolchat::chat::request::{Nonce, Request, SendMessage, SendPrivate};
use smolchat::chat::room::{Effect, Reply, Room};
use smolchat::chat::username::{Username, UsernameKey};
use smolchat::limits::MAX_REJECTIONS_IN_A_ROW;
use smolchat::protocol::basic::event_notice;

impl Model {
    /// Checks the next refusal, or the close that follows too many.
    pub(super) fn take_refusal(
        &mut self,
        room: &mut Room,
        place: usize,
        effect: Effect,
        code: &str,
    ) {
        let person = &mut self.here[place];
        person.refusals += 1;
        match effect {
            Effect::Reply(Reply::Rejected(rejected)) => {
                assert_eq!(rejected.error.code(), code, "{}", rejected.error);
                assert!(person.refusals <= MAX_REJECTIONS_IN_A_ROW);
            }
            Effect::Close(_) => {
                assert_eq!(person.refusals, MAX_REJECTIONS_IN_A_ROW + 1);
                let mut effects = room.disconnect(person.id, LeaveReason::Refused);
                self.gone(place, LeaveReason::Refused, &mut effects);
                assert!(effects.is_empty(), "{effects:?}");
            }
            other => panic!("{other:?}, but a refusal was expected: {code}"),
        }
    }

    pub(super) fn refuse(&mut self, room: &mut Room, place: usize, refusal: &RequestError) {
        let effects = room.reject(self.here[place].id, refusal.clone().into());
        self.take_refusal(room, place, Self::only(effects), refusal.code());
    }

    pub(super) fn ask(&mut self, room: &mut Room, place: usize, request: Request) {
        let id = self.here[place].id;
        let mut draw = || unreachable!("this request is no hello");
        let effects = room.request(id, request.clone(), &mut draw);
        match request {
            Request::SendMessage(say) => self.take_said(place, say, effects),
            Request::Private(private) => self.take_private(room, place, private, effects),
            Request::SetName(requested) => {
                self.take_rename(room, place, &requested, effects);
            }
            Request::History => {
                self.here[place].refusals = 0;
                let kept = self.kept();
                match Self::only(effects) {
                    Effect::Reply(Reply::History(messages)) => {
                        assert!(!kept.is_empty());
                        let ids: Vec<u64> = messages.iter().map(|message| message.id).collect();
                        let expected: Vec<u64> = kept.iter().map(|(id, ..)| *id).collect();
                        assert_eq!(ids, expected, "oldest first");
                    }
                    Effect::Reply(Reply::Notice(told)) => {
                        assert_eq!((told.as_str(), kept.len()), ("No messages yet", 0));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Request::Users => {
                self.here[place].refusals = 0;
                let Effect::Reply(Reply::Users(users)) = Self::only(effects) else {
                    panic!("the users were expected")
                };
                let names: Vec<String> = users.iter().map(|(name, _)| name.to_string()).collect();
                assert_eq!(names, self.names());
            }
            other => panic!("{other:?} is no step"),
        }
    }

    /// Checks the acknowledgement of this nonce, if there is one.
    fn take_ack(
        &mut self,
        place: usize,
        nonce: Option<&Nonce>,
        id: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(token), Some(nonce)) = (self.here[place].token, nonce) else {
            return;
        };
        let said = &mut self.tokens[token].said;
        let id = *said.entry(nonce.as_str().to_owned()).or_insert(id);
        assert!(!effects.is_empty(), "an acknowledgement is missing");
        match effects.remove(0) {
            Effect::Reply(Reply::Ack {
                nonce: told,
                id: number,
            }) => {
                assert_eq!((told, number), (nonce.clone(), id));
            }
            other => panic!("{other:?}, but an acknowledgement was expected"),
        }
    }

    fn was_said(&self, place: usize, nonce: Option<&Nonce>) -> bool {
        let known = self.here[place].token.zip(nonce);
        known.is_some_and(|(token, nonce)| self.tokens[token].said.contains_key(nonce.as_str()))
    }

    fn take_said(&mut self, place: usize, say: SendMessage, mut effects: Vec<Effect>) {
        self.here[place].refusals = 0;
        if self.was_said(place, say.nonce.as_ref()) {
            self.take_ack(place, say.nonce.as_ref(), None, &mut effects);
            return assert!(effects.is_empty(), "{effects:?}");
        }
        let EventKind::Message(message) = self.next_event(&mut effects) else {
            panic!("a message was expected")
        };
        let person = &self.here[place];
        assert_eq!((message.id, message.time), (self.events, self.now.wall));
        assert_eq!(message.source, person.name);
        assert_eq!((&message.text, message.action), (&say.text, say.action));
        let said = (self.events, person.name.to_string(), say.text.into());
        self.said.push(said);
        let id = self.here[place].id;
        self.take_ack(place, say.nonce.as_ref(), Some(self.events), &mut effects);
        self.note_action(id, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn take_private(
        &mut self,
        room: &mut Room,
        place: usize,
        private: SendPrivate,
        mut effects: Vec<Effect>,
    ) {
        let nonce = private.nonce.as_ref();
        if self.was_said(place, nonce) {
            self.here[place].refusals = 0;
            self.take_ack(place, nonce, None, &mut effects);
            return assert!(effects.is_empty(), "{effects:?}");
        }
        let meant = UsernameKey::of_typed(&private.target);
        let is_meant = |person: &&mut Person| match private.target.parse() {
            Ok(address) => person.name == Username::from_address(address),
            Err(_) => meant
                .as_ref()
                .is_some_and(|keys| collide(keys, &person.keys)),
        };
        let sender = self.here[place].id;
        let Some(target) = self.here.iter_mut().find(is_meant) else {
            return self.take_refusal(room, place, Self::only(effects), "no-such-user");
        };
        let (id, is_away) = (target.id, target.away.is_some() && target.id != sender);
        let kept = target.waiting.iter().filter(|mail| mail.message.is_some());
        if is_away && kept.count() >= 100 {
            return self.take_refusal(room, place, Self::only(effects), "mailbox-full");
        }
        self.here[place].refusals = 0;
        let text = private.text.to_string();
        let teller = (sender, self.here[place].token);
        self.put(sender, Some((text.clone(), true)), None, &mut effects);
        if id != sender {
            self.put(id, Some((text, false)), Some(teller), &mut effects);
        }
        self.take_ack(place, nonce, None, &mut effects);
        self.note_action(sender, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn take_rename(
        &mut self,
        room: &mut Room,
        place: usize,
        requested: &str,
        mut effects: Vec<Effect>,
    ) {
        let person = &self.here[place];
        let (new, keys) = match parsed(requested, person.own_name()) {
            Ok(new) => new,
            Err(_) => {
                return self.take_refusal(room, place, Self::only(effects), "bad-name");
            }
        };
        if new == person.name {
            self.here[place].refusals = 0;
            let Effect::Reply(Reply::Notice(told)) = Self::only(effects) else {
                panic!("a notice was expected")
            };
            assert_eq!(told, format!("Your name is already {new}"));
            return;
        }
        let mut others = self.here.iter().filter(|other| other.id != person.id);
        if others.any(|other| collide(&other.keys, &keys)) {
            return self.take_refusal(room, place, Self::only(effects), "name-taken");
        }
        let kind = self.next_event(&mut effects);
        let person = &mut self.here[place];
        person.refusals = 0;
        assert!(matches!(&kind, EventKind::Renamed { old, new: told }
                if *old == person.name && *told == new));
        assert_eq!(
            event_notice(&kind),
            Some(format!("{} renamed to {new}", person.name))
        );
        (person.name, person.keys) = (new, keys);
        if let Some(token) = person.token {
            let (name, has_chosen) = (person.name.clone(), person.has_chosen());
            let known = &mut self.tokens[token];
            (known.name, known.has_chosen) = (name, has_chosen);
        }
        let id = self.here[place].id;
        self.note_action(id, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    pub(super) fn ask_from_outside(&self, room: &mut Room, place: usize, request: Request) {
        if let Some(&id) = self.gone.get(place) {
            let mut draw = || unreachable!("the user has left");
            let mut effects = room.request(id, request, &mut draw);
            effects.extend(room.reject(id, RequestError::NotJson.into()));
            effects.extend(room.disconnect(id, LeaveReason::Closed));
            assert!(effects.is_empty(), "{effects:?}");
        }
    }
}
