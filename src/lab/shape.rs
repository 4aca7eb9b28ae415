//! How what an interface sends is held up, as requests.

use super::topology::Traffic;
use crate::error::{Error, Result};
use crate::netns::Request;

/// The requests that make `traffic` hold on the link with index `index`; none takes it away.
pub(super) fn requests(_index: u32, traffic: Option<&Traffic>) -> Result<Vec<Request>> {
    match traffic {
        None => Ok(Vec::new()),
        Some(_) => Err(Error::usage("rate", "not yet")),
    }
}
