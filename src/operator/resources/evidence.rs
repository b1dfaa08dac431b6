//! The ConfigMap in which a report is kept.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;

use super::owned;
use crate::api::{Migration, pod};
use crate::report::Summary;

/// The greatest report that is unpacked: what is stored has passed through the API server, which
/// takes no more than 1.5 MiB, but a compressed file can say anything.
const LONGEST_REPORT: u64 = 64 << 20;

/// Why a report cannot be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Compressing it failed.
    #[error("cannot compress the report")]
    Pack(#[source] std::io::Error),
    /// The summary cannot be written.
    #[error("cannot write the summary")]
    Summary(#[source] serde_json::Error),
    /// The ConfigMap holds no report.
    #[error("the ConfigMap has no key {}", pod::REPORT_KEY)]
    Missing,
    /// It is no gzip.
    #[error("cannot unpack the report")]
    Unpack(#[source] std::io::Error),
}

/// The ConfigMap that keeps a Job's report beside what its witness announced.
///
/// # Errors
/// When it cannot be compressed.
pub fn report_config_map(
    migration: &Migration,
    job: &str,
    report: &[u8],
    summary: &Summary,
) -> Result<ConfigMap, ReportError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(report).map_err(ReportError::Pack)?;
    let packed = encoder.finish().map_err(ReportError::Pack)?;
    let summary = serde_json::to_string(summary).map_err(ReportError::Summary)?;
    Ok(ConfigMap {
        metadata: owned(migration, job),
        immutable: Some(true),
        binary_data: Some([(pod::REPORT_KEY.to_owned(), ByteString(packed))].into()),
        data: Some([(pod::SUMMARY_KEY.to_owned(), summary)].into()),
    })
}

/// The bytes of the report that a ConfigMap keeps.
///
/// # Errors
/// When there is none in it.
pub fn unpack_report(map: &ConfigMap) -> Result<Vec<u8>, ReportError> {
    let packed = map
        .binary_data
        .as_ref()
        .and_then(|data| data.get(pod::REPORT_KEY))
        .ok_or(ReportError::Missing)?;
    let mut report = Vec::new();
    GzDecoder::new(packed.0.as_slice())
        .take(LONGEST_REPORT)
        .read_to_end(&mut report)
        .map_err(ReportError::Unpack)?;
    Ok(report)
}
