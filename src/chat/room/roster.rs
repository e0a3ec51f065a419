//! Users of the room, with their names, addresses and slots.
//!
//! A slot counts towards the limits on connected users. An attached user has one; a detached user
//! has one only while it is reserved.

use crate::chat::address::limit_key;
use crate::chat::room::RoomTime;
use crate::chat::room::effect::JoinError;
use crate::chat::room::fair_queue::{FairQueue, Owner};
use crate::chat::room::limits::RoomLimits;
use crate::chat::room::mailbox::Mailbox;
use crate::chat::room::session::Detached;
use crate::chat::room::taken_names::TakenNames;
use crate::chat::username::{Username, UsernameKey};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Number of a user, in order of arrival. A number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub(super) u64);

#[derive(Debug)]
pub(super) struct User {
    pub(super) name: Username,
    pub(super) address: SocketAddr,
    pub(super) since: Timestamp,
    /// Steady time of the arrival.
    pub(super) arrived: SignedDuration,
    pub(super) rejections_in_a_row: u32,
    /// False while the name is the user's address. Nobody else can choose such a name, so it is
    /// not among the taken names.
    pub(super) has_chosen: bool,
    /// Whether the user has said or named something.
    pub(super) has_acted: bool,
    /// Number of the session of an extended client or a browser.
    pub(super) session: Option<u64>,
    /// A browser user never has an address as its name.
    pub(super) is_browser: bool,
    /// `None` before the first private message.
    pub(super) mailbox: Option<Box<Mailbox>>,
    /// Some while the user has no connection.
    pub(super) detached: Option<Box<Detached>>,
}

impl User {
    pub(super) fn owner(&self) -> Owner {
        Owner::of(self.address.ip())
    }

    /// Makes an attached user of the basic dialect, whose name is `address`.
    pub(super) fn new(address: SocketAddr, now: RoomTime) -> Self {
        User {
            name: Username::from_address(address),
            address,
            since: now.wall,
            arrived: now.steady,
            rejections_in_a_row: 0,
            has_chosen: false,
            has_acted: false,
            session: None,
            is_browser: false,
            mailbox: None,
            detached: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Roster {
    max_clients: usize,
    max_clients_per_address: Option<usize>,
    /// Boxed, since the nodes of the tree are half empty when keys only ever grow.
    users: BTreeMap<UserId, Box<User>>,
    names: TakenNames,
    /// Attached clients, and detached ones named after their address.
    addresses: HashMap<(IpAddr, u16), UserId>,
    slots_by_address: HashMap<IpAddr, usize>,
    /// Detached users without a slot, by the end of their grace time.
    absent: FairQueue<UserId>,
    /// Detached users with a slot, by the end of their grace time.
    waiting: FairQueue<UserId>,
    last_user: u64,
    user_list: Option<Arc<[(Username, Timestamp)]>>,
}

impl Roster {
    pub(super) fn new(limits: &RoomLimits) -> Self {
        Roster {
            max_clients: limits.max_clients,
            max_clients_per_address: limits.max_clients_per_address,
            users: BTreeMap::new(),
            names: TakenNames::default(),
            addresses: HashMap::new(),
            slots_by_address: HashMap::new(),
            absent: FairQueue::new(),
            waiting: FairQueue::new(),
            last_user: 0,
            user_list: None,
        }
    }

    pub(super) fn get(&self, id: UserId) -> Option<&User> {
        self.users.get(&id).map(Box::as_ref)
    }

    /// Returns a user for changes of anything but its name, address and detachment.
    pub(super) fn get_mut(&mut self, id: UserId) -> Option<&mut User> {
        self.users.get_mut(&id).map(Box::as_mut)
    }

    pub(super) fn is_attached(&self, id: UserId) -> bool {
        self.get(id).is_some_and(|user| user.detached.is_none())
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns the number of slots in use.
    pub(super) fn connected_count(&self) -> usize {
        self.users.len() - self.absent.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut User> {
        self.users.values_mut().map(Box::as_mut)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&Username, Timestamp)> {
        self.users.values().map(|user| (&user.name, user.since))
    }

    /// Returns the users in order of arrival. The list is shared until the next change.
    pub(super) fn user_list(&mut self) -> Arc<[(Username, Timestamp)]> {
        let users = &self.users;
        let list = || users.values().map(|user| (user.name.clone(), user.since));
        self.user_list
            .get_or_insert_with(|| list().collect())
            .clone()
    }

    // Arrival, departure, connections

    /// Adds a user. `key` is that of its chosen name, if it has chosen one. If the user has a slot,
    /// the caller has reserved it.
    pub(super) fn add(&mut self, user: User, key: Option<UsernameKey>) -> UserId {
        self.last_user += 1;
        let id = UserId(self.last_user);
        let address = user.address;
        if let Some(detached) = &user.detached {
            let (owner, until) = (detached.owner, detached.until);
            let queue = match detached.has_reserved_slot {
                true => &mut self.waiting,
                false => &mut self.absent,
            };
            queue.insert(owner, until, id);
        }
        self.users.insert(id, Box::new(user));
        match key {
            Some(key) => self.names.insert(key, id),
            None => self.index_address(id, address),
        }
        self.user_list = None;
        id
    }

    /// Removes a user with its name, address and slot.
    pub(super) fn remove(&mut self, id: UserId) -> Option<User> {
        let user = *self.users.remove(&id)?;
        self.unindex_address(id, user.address);
        self.user_list = None;
        let mut has_slot = true;
        if let Some(detached) = &user.detached {
            self.forget_detached(id, detached);
            has_slot = detached.has_reserved_slot;
        }
        if has_slot {
            self.release_slot(user.address.ip());
        }
        if user.has_chosen {
            self.names.remove(&user.name.key(), id);
        }
        Some(user)
    }

    /// Marks an attached user as detached. The user keeps its name, and its slot if that is
    /// reserved.
    pub(super) fn detach(&mut self, id: UserId, detached: Detached) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        let (owner, until) = (detached.owner, detached.until);
        let has_slot = detached.has_reserved_slot;
        user.detached = Some(Box::new(detached));
        let (address, has_chosen) = (user.address, user.has_chosen);
        if has_slot {
            return self.waiting.insert(owner, until, id);
        }
        self.absent.insert(owner, until, id);
        self.release_slot(address.ip());
        if has_chosen {
            self.unindex_address(id, address);
        }
    }

    /// Marks a detached user as attached. Its slot is already reserved.
    pub(super) fn attach(&mut self, id: UserId) -> Option<Box<Detached>> {
        let detached = self.users.get_mut(&id)?.detached.take()?;
        self.forget_detached(id, &detached);
        Some(detached)
    }

    fn forget_detached(&mut self, id: UserId, detached: &Detached) {
        let queue = match detached.has_reserved_slot {
            true => &mut self.waiting,
            false => &mut self.absent,
        };
        queue.remove(detached.owner, detached.until, id);
    }

    /// Gives the address and the slot of `temporary` to `earlier`, and removes `temporary`.
    pub(super) fn take_over(&mut self, temporary: UserId, earlier: UserId) -> Option<User> {
        let removed = *self.users.remove(&temporary)?;
        self.user_list = None;
        if removed.has_chosen {
            self.names.remove(&removed.name.key(), temporary);
        }
        let user = self.users.get_mut(&earlier)?;
        let address = std::mem::replace(&mut user.address, removed.address);
        let detached = user.detached.as_ref();
        if detached.is_none_or(|detached| detached.has_reserved_slot) {
            self.release_slot(address.ip());
        }
        self.unindex_address(earlier, address);
        self.index_address(earlier, removed.address);
        Some(removed)
    }

    /// Returns the detached user whose grace time ends first.
    pub(super) fn first_grace_end(&self) -> Option<(SignedDuration, UserId)> {
        let ends = [self.absent.first(), self.waiting.first()];
        ends.into_iter().flatten().min()
    }

    /// Moves the end of a detached user's grace time.
    pub(super) fn set_grace_end(&mut self, id: UserId, until: SignedDuration) {
        let user = self.users.get_mut(&id);
        if let Some(detached) = user.and_then(|user| user.detached.as_mut()) {
            let queue = match detached.has_reserved_slot {
                true => &mut self.waiting,
                false => &mut self.absent,
            };
            queue.remove(detached.owner, detached.until, id);
            queue.insert(detached.owner, until, id);
            detached.until = until;
        }
    }

    /// Returns the user whose grace time ends early if more users than `--max-clients` are in it:
    /// of the owner that has most, the one absent longest.
    pub(super) fn absent_over_capacity(&self) -> Option<UserId> {
        let user = self.absent.first_of_largest_share()?;
        (self.absent.len() > self.max_clients).then_some(user)
    }

    // Names

    /// Returns whether a user other than `except` has an equal name.
    pub(super) fn is_taken(&self, key: &UsernameKey, except: Option<UserId>) -> bool {
        self.names.owners(key).any(|owner| Some(owner) != except)
    }

    /// Returns the user with this name or an equal one.
    pub(super) fn find_by_name(&self, name: &str) -> Option<UserId> {
        if let Ok(address) = name.parse() {
            let user = self.find_by_address(address)?;
            return self.get(user).filter(|user| !user.has_chosen).map(|_| user);
        }
        self.names.owners(&UsernameKey::of_typed(name)?).next()
    }

    /// Gives a user a name and returns the old one. `key` is `None` if the name is its address.
    pub(super) fn rename(
        &mut self,
        id: UserId,
        name: &Username,
        key: Option<UsernameKey>,
    ) -> Option<Username> {
        let user = self.users.get_mut(&id)?;
        let old = std::mem::replace(&mut user.name, name.clone());
        if std::mem::replace(&mut user.has_chosen, key.is_some()) {
            self.names.remove(&old.key(), id);
        }
        if let Some(key) = key {
            self.names.insert(key, id);
        }
        self.user_list = None;
        Some(old)
    }

    // Addresses

    /// Returns the user with this address and port. An IPv4-mapped address equals its IPv4 form.
    pub(super) fn find_by_address(&self, address: SocketAddr) -> Option<UserId> {
        self.addresses.get(&canonical(address)).copied()
    }

    fn index_address(&mut self, user: UserId, address: SocketAddr) {
        self.addresses.insert(canonical(address), user);
    }

    fn unindex_address(&mut self, user: UserId, address: SocketAddr) {
        let address = canonical(address);
        if self.addresses.get(&address) == Some(&user) {
            self.addresses.remove(&address);
        }
    }

    // Slots

    /// Returns the browser user without a live stream that has to leave for a newcomer from this
    /// address; `None` if a slot is free.
    pub(super) fn giving_way(&self, address: IpAddr) -> Result<Option<UserId>, JoinError> {
        let is_full = self.connected_count() >= self.max_clients;
        let count = self.slots_by_address.get(&limit_key(address));
        let limit = self.max_clients_per_address;
        let is_address_full = limit.is_some_and(|limit| count.is_some_and(|count| *count >= limit));
        let user = match is_address_full {
            true => self.waiting.first_of(Owner::of(address)),
            false if is_full => self.waiting.first_of_largest_share(),
            false => return Ok(None),
        };
        match (user, is_address_full) {
            (Some(user), _) => Ok(Some(user)),
            (None, true) => Err(JoinError::AddressFull),
            (None, false) => Err(JoinError::Full(self.max_clients)),
        }
    }

    /// Reserves a slot for a newcomer from this address, after [`Roster::giving_way`].
    pub(super) fn reserve_slot(&mut self, address: IpAddr) {
        if self.max_clients_per_address.is_some() {
            *self.slots_by_address.entry(limit_key(address)).or_insert(0) += 1;
        }
    }

    fn release_slot(&mut self, address: IpAddr) {
        let address = limit_key(address);
        let Some(count) = self.slots_by_address.get_mut(&address) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.slots_by_address.remove(&address);
        }
    }

    /// Returns whether a user is detached without a slot.
    pub(super) fn lacks_slot(&self, id: UserId) -> bool {
        let detached = self.get(id).and_then(|user| user.detached.as_ref());
        detached.is_some_and(|detached| !detached.has_reserved_slot)
    }

    /// Gives a slot that is reserved to a detached browser user that has none.
    pub(super) fn give_slot(&mut self, id: UserId, address: IpAddr) {
        if let Some(user) = self.users.get_mut(&id) {
            user.address = SocketAddr::new(address, 0);
            // A restored user is not known as one before its first request.
            user.is_browser = true;
            if let Some(detached) = &mut user.detached {
                self.absent.remove(detached.owner, detached.until, id);
                detached.has_reserved_slot = true;
                detached.owner = Owner::of(address);
                self.waiting.insert(detached.owner, detached.until, id);
            }
        }
    }
}

/// Returns the address, an IPv4-mapped one as IPv4, and the port.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
