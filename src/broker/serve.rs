//! stub
use super::settings::Settings;
use crate::error::Result;
use crate::policy::Policy;
use crate::request::Request;
pub(crate) fn serve(
    _policy: impl Fn() -> Result<Policy> + 'static,
    _request: &Request,
    _settings: Settings,
) -> Result<u8> {
    Ok(0)
}
