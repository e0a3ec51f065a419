//! Changes of a user's name.

use crate::chat::error::RequestError;
use crate::chat::event::EventKind;
use crate::chat::room::Room;
use crate::chat::room::effect::{Effect, Reply};
use crate::chat::room::roster::UserId;
use crate::chat::username::{Username, UsernameKey};

impl Room {
    pub(super) fn set_name(&mut self, id: UserId, requested: &str) {
        match self.check_new_name(id, requested) {
            Err(error) => self.reject_request(id, error, "set-name"),
            Ok((name, _)) if self.name(id) == Some(&name) => {
                let notice = Reply::Notice(format!("Your name is already {name}"));
                self.accept(id, Effect::Reply(notice));
            }
            Ok((name, key)) => {
                self.reset_rejections(id);
                self.rename(id, &name, key);
                self.note_action(id);
            }
        }
    }

    /// Returns the name that a user asks for and its key, or no key if it is the user's address.
    fn check_new_name(
        &self,
        id: UserId,
        requested: &str,
    ) -> Result<(Username, Option<UsernameKey>), RequestError> {
        let user = self.roster.get(id);
        let own_address = user
            .filter(|user| !user.is_browser)
            .map(|user| user.address);
        let name = Username::parse(requested, own_address).map_err(RequestError::Name)?;
        let is_address = own_address.is_some_and(|own| name == Username::from_address(own));
        let key = (!is_address).then(|| name.key());
        match &key {
            Some(key) if self.roster.is_taken(key, Some(id)) => {
                Err(RequestError::NameTaken(name.as_str().into()))
            }
            _ => Ok((name, key)),
        }
    }

    /// Renames a user and announces the new name. `key` is `None` if the name is its address.
    pub(super) fn rename(&mut self, id: UserId, name: &Username, key: Option<UsernameKey>) {
        let has_chosen = key.is_some();
        let Some(old) = self.roster.rename(id, name, key) else {
            return;
        };
        let session = self.roster.get(id).and_then(|user| user.session);
        if let Some(session) = session.and_then(|number| self.sessions.get_mut(number)) {
            session.record.name = name.clone();
            session.record.has_chosen = has_chosen;
        }
        let new = name.clone();
        self.publish(EventKind::Renamed { old, new });
    }
}
