//! Connections and browsers that come and go.

use super::{Model, Person, collide, network, parsed, seconds, token};
use smolchat::chat::error::RequestError;
use smolchat::chat::event::{EventKind, LeaveReason};
use smolchat::chat::room::{BrowserJoinError, Effect, JoinError, Reply, Room, UserId};
use smolchat::chat::username::{Username, UsernameKey};
use std::cmp::Reverse;
use std::net::SocketAddr;

impl Model {
    pub(super) fn enter(&mut self, room: &mut Room, address: SocketAddr) {
        let name = Username::from_address(address);
        let is_from_there = |person: &Person| Username::from_address(person.address) == name;
        let holder = self.connected().find(|person| is_from_there(person));
        let refused = match holder {
            Some(holder) => Some(JoinError::AddressInUse(holder.id)),
            None => self.no_place(address),
        };
        match (room.enter(address), refused) {
            (Err(told), Some(expected)) => assert_eq!(told, expected),
            (Ok((id, mut effects)), None) => {
                self.make_place(address, &mut effects);
                self.entered(id, address, name, effects);
            }
            (told, expected) => panic!("{address}: {told:?}, but {expected:?} was expected"),
        }
    }

    /// Returns whether the room and the address are full.
    fn fullness(&self, address: SocketAddr) -> (bool, bool) {
        let is_neighbour = |person: &&Person| network(person.address) == network(address);
        let neighbours = self.placed().filter(is_neighbour).count();
        let most_neighbours = self.limits.max_clients_per_address.unwrap_or(usize::MAX);
        let is_full = self.placed().count() >= self.limits.max_clients;
        (is_full, neighbours >= most_neighbours)
    }

    /// Returns the place of the user who leaves for a newcomer from this address: a browser without
    /// a stream, the first of the network with most, or of that of the newcomer if it is full.
    fn giving_way(&self, address: SocketAddr) -> Option<usize> {
        let (_, is_address_full) = self.fullness(address);
        let waiting = self.here.iter().enumerate();
        let waiting: Vec<_> = waiting
            .filter(|(_, person)| person.away.is_some() && person.has_reserved_slot)
            .filter(|(_, person)| !is_address_full || network(person.address) == network(address))
            .collect();
        let share = |person: &Person| {
            let same =
                |other: &&(usize, &Person)| network(other.1.address) == network(person.address);
            waiting.iter().filter(same).count()
        };
        let first = waiting
            .iter()
            .max_by_key(|(_, person)| (share(person), Reverse((person.away, person.id))));
        first.map(|(place, _)| *place)
    }

    /// Returns why a newcomer from this address is rejected, if it is.
    fn no_place(&self, address: SocketAddr) -> Option<JoinError> {
        let is_given = self.giving_way(address).is_some();
        match self.fullness(address) {
            (false, false) => None,
            _ if is_given => None,
            (_, true) => Some(JoinError::AddressFull),
            (true, false) => Some(JoinError::Full(self.limits.max_clients)),
        }
    }

    /// Removes the user who leaves for a newcomer from this address, if one has to.
    fn make_place(&mut self, address: SocketAddr, effects: &mut Vec<Effect>) {
        if self.fullness(address) != (false, false) {
            let place = self.giving_way(address).expect("a place was given");
            self.gone(place, LeaveReason::Closed, effects);
        }
    }

    fn entered(
        &mut self,
        id: UserId,
        address: SocketAddr,
        name: Username,
        mut effects: Vec<Effect>,
    ) {
        let away = |person: &Person| person.away.is_some() && person.name == name;
        if let Some(place) = self.here.iter().position(away) {
            self.gone(place, LeaveReason::Closed, &mut effects);
        }
        let kind = self.next_event(&mut effects);
        assert!(effects.is_empty(), "{effects:?}");
        assert!(!self.gone.contains(&id), "a number was used twice");
        let many = self.here.len() + 1 > self.limits.announce_limit;
        assert!(
            matches!(&kind, EventKind::Joined { name: told, is_summarised }
                if *told == name && *is_summarised == many)
        );
        let (_, keys) = parsed(name.as_str(), Some(address)).expect("a valid own address");
        let person = Person::new(id, address, (name, keys), self.now);
        self.here.push(person);
    }

    pub(super) fn join(
        &mut self,
        room: &mut Room,
        address: SocketAddr,
        asked: Option<usize>,
        name: &str,
    ) {
        let is_of_browser = |number: &usize| {
            let known = self.tokens.get(*number);
            known.is_some_and(|known| known.is_browser && !known.is_forgotten)
        };
        let known = asked.filter(is_of_browser);
        // A browser that is present is renamed instead.
        if known.is_some() && self.here.iter().any(|person| person.token == known) {
            return;
        }
        let number = known.unwrap_or(self.tokens.len());
        let mut draw = || {
            assert!(known.is_none(), "a token that is known is given back");
            token(number)
        };
        let ip = address.ip();
        let joined = room.join(asked.map(token), ip, name, &mut draw);
        let (name, keys) = match parsed(name, None) {
            Ok(parsed) => parsed,
            Err(error) => {
                let refused = BrowserJoinError::Rejected(RequestError::Name(error));
                return assert_eq!(joined.expect_err("no name"), refused);
            }
        };
        if self.here.iter().any(|person| collide(&person.keys, &keys)) {
            let refused = joined.expect_err("the name is taken");
            return assert!(matches!(
                refused,
                BrowserJoinError::Rejected(RequestError::NameTaken(_))
            ));
        }
        if let Some(no_entry) = self.no_place(address) {
            let refused = joined.expect_err("there is no place");
            return assert_eq!(refused, BrowserJoinError::NoSlot(no_entry));
        }
        let joined = joined.expect("there is a place");
        assert_eq!((&joined.name, &joined.token), (&name, &token(number)));
        assert!(!self.gone.contains(&joined.user), "a number was used twice");
        let mut effects = joined.effects;
        self.make_place(address, &mut effects);
        self.joined(joined.user, address, (name, keys), number, effects);
    }

    fn joined(
        &mut self,
        id: UserId,
        address: SocketAddr,
        (name, keys): (Username, UsernameKey),
        number: usize,
        mut effects: Vec<Effect>,
    ) {
        self.here.push(Person {
            token: Some(number),
            away: Some(self.now.steady + seconds(self.limits.grace)),
            is_browser: true,
            has_reserved_slot: true,
            ..Person::new(id, address, (name.clone(), keys), self.now)
        });
        if number == self.tokens.len() {
            self.know_token(name.clone(), true, true);
        } else {
            self.tokens[number].name = name.clone();
        }
        self.use_token(number, self.here.len() - 1);
        self.note_action(id, &mut effects);
        let many = self.here.len() > self.limits.announce_limit;
        let kind = self.next_event(&mut effects);
        assert!(
            matches!(&kind, EventKind::Joined { name: told, is_summarised }
                if *told == name && *is_summarised == many)
        );
        self.give_kept_errors(id, number, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    /// Reserves a slot for a browser without one; the room must answer the same.
    fn ensure_slot(
        &mut self,
        id: UserId,
        address: SocketAddr,
        told: Result<Vec<Effect>, JoinError>,
    ) -> bool {
        let place = self.place_of(id);
        let has_place = self.here[place].has_place();
        let expected = self.no_place(address).filter(|_| !has_place);
        let Ok(mut effects) = told else {
            assert_eq!(told.err(), expected);
            return false;
        };
        assert_eq!(expected, None);
        if !has_place {
            self.make_place(address, &mut effects);
            let place = self.place_of(id);
            let person = &mut self.here[place];
            (person.has_reserved_slot, person.address) = (true, address);
        }
        assert!(effects.is_empty(), "{effects:?}");
        true
    }

    fn place_of(&self, id: UserId) -> usize {
        let mut here = self.here.iter();
        here.position(|person| person.id == id).expect("it is here")
    }

    pub(super) fn attach_stream(&mut self, room: &mut Room, place: usize, address: SocketAddr) {
        let id = self.here[place].id;
        let attended = room.attach_stream(id, address.ip());
        if !self.ensure_slot(id, address, attended) {
            return;
        }
        let place = self.place_of(id);
        let person = &mut self.here[place];
        let was_away = person.away.take().is_some();
        person.has_reserved_slot = false;
        let waiting = std::mem::take(&mut person.waiting);
        if was_away {
            self.trim(place);
        }
        let person = &mut self.here[place];
        for mut mail in waiting {
            mail.at = self.now.steady;
            person.sent.push(mail);
        }
        if person.has_uncertain_mail() {
            self.await_receipts();
        }
        let mut told = room.mailbox(id).into_iter();
        let mut next = None;
        for mail in &self.here[place].sent {
            let reply = told.next().expect("all mail");
            Self::check_mail(mail.message.as_ref(), true, &reply);
            if let Reply::Private(copy) = reply {
                assert!(next.is_none_or(|next| copy.number == Some(next)));
                next = copy.number.map(|number| number + 1);
            }
        }
        assert_eq!(told.count(), 0);
        if let Some(number) = self.here[place].token.filter(|_| was_away) {
            self.use_token(number, place);
        }
    }

    pub(super) fn touch(&mut self, room: &mut Room, place: usize, address: SocketAddr) {
        let id = self.here[place].id;
        let told = room.touch(id, address.ip());
        let has_place = self.ensure_slot(id, address, told);
        let place = self.place_of(id);
        let until = self.now.steady + seconds(self.limits.grace);
        let person = &mut self.here[place];
        if has_place && person.away.is_some() {
            person.away = Some(until);
            if let Some(number) = person.token {
                self.use_token(number, place);
            }
        }
    }

    pub(super) fn detach_stream(&mut self, room: &mut Room, place: usize) {
        let id = self.here[place].id;
        let mut effects = room.disconnect(id, LeaveReason::Closed);
        if self.is_at(place) {
            let has_stayed = self.has_stayed(place);
            self.note_receipts(place, LeaveReason::Closed);
            let person = &mut self.here[place];
            person.away = Some(self.now.steady + seconds(self.limits.grace));
            person.has_reserved_slot = !has_stayed;
            if let Some(number) = person.token {
                self.use_token(number, place);
            }
            self.check_absent(&mut effects);
        }
        assert!(effects.is_empty(), "it has its grace time: {effects:?}");
    }

    pub(super) fn quit(&mut self, room: &mut Room, place: usize) {
        let id = self.here[place].id;
        let mut effects = room.disconnect(id, LeaveReason::Quit);
        self.gone(place, LeaveReason::Quit, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }
}
