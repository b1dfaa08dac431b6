//! `drydock controller`: the operator.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;

use crate::operator::controller::{self, Settings};
use crate::operator::resources::OwnImage;
use crate::telemetry::{self, Format};
use crate::verdict::ExitCode;

/// Run the operator.
#[derive(Debug, Args)]
pub(super) struct ControllerArgs {
    /// drydock's own image, for the pods of its Jobs
    #[arg(long, env = "DRYDOCK_IMAGE")]
    image: String,
    /// When that image is pulled
    #[arg(long, env = "DRYDOCK_IMAGE_PULL_POLICY")]
    image_pull_policy: Option<String>,
    /// The only namespace to look after; all when omitted
    #[arg(long, env = "DRYDOCK_NAMESPACE")]
    namespace: Option<String>,
    /// Where metrics and health are served
    #[arg(long, env = "DRYDOCK_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

/// Runs the subcommand.
pub(super) fn run(arguments: ControllerArgs) -> Result<ExitCode> {
    let filter = std::env::var("DRYDOCK_LOG").ok();
    telemetry::install(Format::Json, filter.as_deref(), "drydock=info");
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    let settings = Settings {
        namespace: given(arguments.namespace),
        own: OwnImage {
            image: arguments.image,
            image_pull_policy: given(arguments.image_pull_policy),
        },
        listen: arguments.listen,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match runtime.block_on(controller::run(settings)) {
        Ok(()) => Ok(ExitCode::Passed),
        Err(error) => {
            super::complain(&anyhow::Error::from(error));
            Ok(ExitCode::Environment)
        }
    }
}
