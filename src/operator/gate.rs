//! The match rule of the gate: which waiting pods may start.
//!
//! A pod may start when every container and init container whose repository is the Migration's has a
//! released image, and at least one has. Containers of other repositories are not the Migration's
//! business. Images are compared as texts: what a person wrote, or what admission made of it.

use std::collections::BTreeSet;

use crate::api::Released;

/// The repository of an image reference: without tag and digest.
#[must_use]
pub fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[path..].find(':') {
        Some(colon) => &name[..path + colon],
        None => name,
    }
}

/// The digest that an image reference or a node's image id ends with, if any: `sha256:…`.
#[must_use]
pub fn digest(image: &str) -> Option<&str> {
    image.split_once('@').map(|(_, digest)| digest)
}

/// Whether a pod with these images may start. `image` is the Migration's own.
#[must_use]
pub fn opens_for<'a>(
    images: impl IntoIterator<Item = &'a str>,
    image: &str,
    released: &[Released],
) -> bool {
    let mut repositories = BTreeSet::from([repository(image)]);
    let mut texts = BTreeSet::new();
    for entry in released {
        for text in [Some(&entry.image), entry.admitted.as_ref()]
            .into_iter()
            .flatten()
        {
            repositories.insert(repository(text));
            texts.insert(text.as_str());
        }
    }
    let mut any = false;
    for image in images {
        if repositories.contains(repository(image)) {
            if !texts.contains(image) {
                return false;
            }
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn released(entries: &[(&str, Option<&str>)]) -> Vec<Released> {
        entries
            .iter()
            .map(|(image, admitted)| Released {
                image: (*image).to_owned(),
                admitted: admitted.map(str::to_owned),
                digest: None,
                commands: None,
                evidence: None,
                at: jiff::Timestamp::UNIX_EPOCH,
            })
            .collect()
    }

    #[rstest]
    #[case("orders", "orders")]
    #[case("orders:v1", "orders")]
    #[case("registry.example/orders:v1", "registry.example/orders")]
    #[case("registry.example:5000/orders", "registry.example:5000/orders")]
    #[case("registry.example:5000/a/orders:v1", "registry.example:5000/a/orders")]
    #[case("orders@sha256:ab", "orders")]
    #[case(
        "registry.example:5000/orders:v1@sha256:ab",
        "registry.example:5000/orders"
    )]
    fn a_repository_is_the_image_without_tag_and_digest(
        #[case] image: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(repository(image), expected);
    }

    const V1: &str = "r.example/orders:v1";
    const V2: &str = "r.example/orders:v2";
    const MIRRORED: &str = "mirror.example/orders:v2";

    #[rstest]
    #[case::nothing_is_released(&[V1], &[], false)]
    #[case::the_image_is_released(&[V1], &[(V1, None)], true)]
    #[case::another_version_is_released(&[V2], &[(V1, None)], false)]
    #[case::an_older_version_stays_released(&[V1], &[(V1, None), (V2, None)], true)]
    #[case::sidecars_of_others_do_not_matter(&[V1, "envoy:v9"], &[(V1, None)], true)]
    #[case::only_others(&["envoy:v9"], &[(V1, None)], false)]
    #[case::every_container_must_be_released(&[V1, V2], &[(V1, None)], false)]
    #[case::all_containers_are_released(&[V1, V2], &[(V1, None), (V2, None)], true)]
    #[case::as_admitted(&[MIRRORED], &[(V2, Some(MIRRORED))], true)]
    #[case::as_admitted_and_as_given(&[MIRRORED, V2], &[(V2, Some(MIRRORED))], true)]
    #[case::the_admitted_repository_counts_too(
        &["mirror.example/orders:v3"], &[(V2, Some(MIRRORED))], false
    )]
    #[case::a_prefix_is_another_repository(&["r.example/orders-web:v1"], &[(V1, None)], false)]
    #[case::no_containers(&[], &[(V1, None)], false)]
    fn the_gate_opens_only_for_released_images(
        #[case] images: &[&str],
        #[case] entries: &[(&str, Option<&str>)],
        #[case] opens: bool,
    ) {
        assert_eq!(
            opens_for(images.iter().copied(), V2, &released(entries)),
            opens
        );
    }
}
