//! Tokens: hello, resumption and expiry.

use super::{Known, Model, collide, token};
use smolchat::chat::event::{EventKind, LeaveReason};
use smolchat::chat::request::{Hello, Request};
use smolchat::chat::room::{Effect, Reply, Room, WelcomeData};
use smolchat::chat::username::Username;
use std::cmp::Reverse;
use std::collections::HashMap;

impl Model {
    pub(super) fn hello(&mut self, room: &mut Room, place: usize, asked: Option<usize>) {
        let id = self.here[place].id;
        let hello = Hello {
            client: "model".into(),
            token: asked.map(token),
            after: None,
        };
        let fresh = self.tokens.len();
        let mut drawn = false;
        let mut draw = || {
            drawn = true;
            token(fresh)
        };
        let request = Request::Hello(hello);
        let effects = room.request(id, request, &mut draw);
        if self.here[place].token.is_some() {
            self.here[place].refusals = 0;
            return self.take_refusal(room, place, Self::only(effects), "hello-twice");
        }
        self.here[place].refusals = 0;
        let known = asked.filter(|number| {
            let known = self.tokens.get(*number);
            known.is_some_and(|known| !known.is_forgotten && !known.is_browser)
        });
        let Some(number) = known else {
            assert!(drawn, "a token that is not known is not given back");
            return self.begin(place, asked.is_none(), effects);
        };
        assert!(!drawn, "a token that is known is given back");
        let earlier = self
            .here
            .iter()
            .position(|person| person.token == Some(number));
        match earlier {
            Some(earlier) => self.resume(place, earlier, number, effects),
            None => self.renew(place, number, effects),
        }
    }

    fn begin(&mut self, place: usize, is_known: bool, mut effects: Vec<Effect>) {
        let number = self.tokens.len();
        let person = &mut self.here[place];
        person.token = Some(number);
        let (name, has_chosen) = (person.name.clone(), person.has_chosen());
        let (id, has_acted) = (person.id, person.has_acted);
        self.know_token(name, has_chosen, false);
        self.use_token(number, place);
        self.take_welcome(&mut effects, place, number, is_known);
        if has_acted {
            self.note_action(id, &mut effects);
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    pub(super) fn know_token(&mut self, name: Username, has_chosen: bool, is_browser: bool) {
        self.tokens.push(Known {
            name,
            has_chosen,
            is_browser,
            used: self.now.steady,
            owner: Vec::new(),
            is_kept: false,
            is_forgotten: false,
            errors: 0,
            said: HashMap::new(),
        });
    }

    /// Forgets a token above the limit: the least recently used one of the network with most.
    pub(super) fn forget_idle_token(&mut self, effects: &mut Vec<Effect>) {
        let most = 10 * self.limits.max_clients;
        let alive = self
            .tokens
            .iter()
            .filter(|known| known.is_kept && !known.is_forgotten)
            .count();
        if alive > most {
            let idle = self.tokens.iter().enumerate().filter(|(number, known)| {
                let mut connected = self.connected();
                let is_connected = connected.any(|person| person.token == Some(*number));
                known.is_kept && !known.is_forgotten && !is_connected
            });
            let idle: Vec<_> = idle.collect();
            let share = |owner: &[u8]| {
                idle.iter()
                    .filter(|(_, known)| known.owner == owner)
                    .count()
            };
            let (oldest, _) = idle
                .iter()
                .max_by_key(|(_, known)| (share(&known.owner), Reverse(known.used)))
                .expect("an idle one");
            let oldest = *oldest;
            self.tokens[oldest].is_forgotten = true;
            let away = self
                .here
                .iter()
                .position(|person| person.token == Some(oldest));
            if let Some(place) = away {
                self.gone(place, LeaveReason::Closed, effects);
            }
        }
    }

    fn take_welcome(
        &self,
        effects: &mut Vec<Effect>,
        place: usize,
        number: usize,
        expects_known: bool,
    ) {
        let Effect::Reply(Reply::Welcome(welcome)) = effects.remove(0) else {
            panic!("a welcome was expected")
        };
        let WelcomeData {
            name,
            token: told,
            last,
            users,
            is_known,
        } = welcome;
        assert_eq!(is_known, expects_known);
        assert_eq!(name, self.here[place].name);
        assert_eq!(told, token(number));
        assert_eq!((last, users), (self.events, self.here.len()));
    }

    fn resume(&mut self, place: usize, earlier: usize, number: usize, mut effects: Vec<Effect>) {
        let many = self.here.len() > self.limits.announce_limit;
        let user = self.here[earlier].id;
        assert!(matches!(effects.remove(0), Effect::Resumed(told) if told == user));
        let temporary = self.here.remove(place);
        let earlier = if place < earlier {
            earlier - 1
        } else {
            earlier
        };
        let person = &mut self.here[earlier];
        let has_chosen = person.has_chosen();
        let before = person.name.clone();
        person.address = temporary.address;
        person.away = None;
        person.refusals = 0;
        let mut again = std::mem::take(&mut person.sent);
        again.append(&mut person.waiting);
        if !has_chosen {
            person.name = Username::from_address(person.address);
            person.keys = person.name.key();
        }
        let name = person.name.clone();
        self.use_token(number, earlier);
        self.tokens[number].name = name.clone();
        self.take_welcome(&mut effects, earlier, number, true);
        let left = self.next_event(&mut effects);
        assert!(
            matches!(&left, EventKind::Left { name, reason: LeaveReason::Resumed, is_summarised }
                if *name == temporary.name && *is_summarised == many)
        );
        self.gone.push(temporary.id);
        if name != before {
            let renamed = self.next_event(&mut effects);
            assert!(matches!(&renamed, EventKind::Renamed { old, new }
                    if *old == before && *new == name));
        }
        if !again.is_empty() {
            self.await_receipts();
        }
        for mut mail in again {
            let Effect::ToUser(target, reply) = effects.remove(0) else {
                panic!("what was kept was expected")
            };
            assert_eq!(target, user);
            Self::check_mail(mail.message.as_ref(), false, &reply);
            mail.at = self.now.steady;
            self.here[earlier].sent.push(mail);
        }
        self.here[earlier].sent.extend(temporary.sent);
        if temporary.has_acted {
            self.note_action(user, &mut effects);
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn renew(&mut self, place: usize, number: usize, mut effects: Vec<Effect>) {
        let known = &self.tokens[number];
        let person = &self.here[place];
        let wanted = (known.has_chosen && !person.has_chosen()).then(|| known.name.clone());
        let keys = wanted.as_ref().map(Username::key);
        let is_taken = keys.as_ref().is_some_and(|keys| {
            let mut others = self.here.iter().filter(|other| other.id != person.id);
            others.any(|other| collide(&other.keys, keys))
        });
        let before = person.name.clone();
        if let (Some(wanted), Some(keys), false) = (&wanted, keys, is_taken) {
            (self.here[place].name, self.here[place].keys) = (wanted.clone(), keys);
        }
        self.here[place].token = Some(number);
        let name = self.here[place].name.clone();
        let has_chosen = self.here[place].has_chosen();
        let known = &mut self.tokens[number];
        (known.name, known.has_chosen) = (name.clone(), has_chosen);
        self.use_token(number, place);
        self.take_welcome(&mut effects, place, number, true);
        if name != before {
            let renamed = self.next_event(&mut effects);
            assert!(matches!(&renamed, EventKind::Renamed { old, new }
                    if *old == before && *new == name));
        } else if is_taken {
            assert!(matches!(effects.remove(0), Effect::Reply(Reply::Notice(_))));
        }
        self.give_kept_errors(self.here[place].id, number, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }
}
