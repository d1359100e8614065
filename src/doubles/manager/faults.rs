//! What only a manager can be made to say.

/// What the manager says to registrations (wire reference, 17.2, 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterAnswer {
    /// 200 with `action: SELF_DESTRUCT` and no id: account, group or delegate were deleted.
    SelfDestruct,
    /// 200 with `action: MIGRATE` to this URL and no id.
    Migrate(String),
    /// 200 with an id of null and no action.
    NullId,
    /// 204: refused by the list of allowed addresses.
    NoContent,
}
