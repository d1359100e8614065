//! A stage's id and its build's, as one external id: `<build>/<stage>`. A stage is taken by the one and watched by the other.

use std::fmt;

use crate::core::id::ExternalId;

/// Where a stage is found at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StageId {
    pub build: i64,
    pub stage: i64,
}

/// An external id that this adapter did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the external id is no build and stage")]
pub(super) struct BadStageId;

impl StageId {
    pub fn parse(id: &ExternalId) -> Result<Self, BadStageId> {
        let (build, stage) = id.as_str().split_once('/').ok_or(BadStageId)?;
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number > 0).ok_or(BadStageId);
        Ok(Self { build: number(build)?, stage: number(stage)? })
    }

    pub fn external(self) -> ExternalId {
        ExternalId::from(self.to_string())
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.build, self.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let id = StageId { build: 5521, stage: 9104 };
        assert_eq!(StageId::parse(&id.external()), Ok(id));
        for bad in ["", "1", "0/1", "1/-1", "a/b", "1/2/3"] {
            assert_eq!(StageId::parse(&bad.into()), Err(BadStageId), "{bad}");
        }
    }
}
