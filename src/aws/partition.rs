//! The partitions of AWS and their regions, from botocore's `partitions.json` (1.44).

/// A part of AWS with separate accounts and host names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) name: &'static str,
    /// The prefixes of its region names. A word and a number follow: `us-east-1`.
    prefixes: &'static [&'static str],
    pub(crate) dns_suffix: &'static str,
    pub(crate) dual_stack_dns_suffix: &'static str,
    /// The domain of its sign-in pages, different in each partition.
    pub(crate) signin_suffix: &'static str,
}

/// All partitions. Each has FIPS and dual-stack endpoints. An unknown region belongs to the first partition, `aws`.
static PARTITIONS: [Partition; 8] = [
    partition("aws", WORLD, ["amazonaws.com", "api.aws", "aws.amazon.com"]),
    partition("aws-cn", &["cn"], ["amazonaws.com.cn", "api.amazonwebservices.com.cn", "amazonaws.cn"]),
    partition("aws-eusc", &["eusc-de"], ["amazonaws.eu", "api.amazonwebservices.eu", "amazonaws-eusc.eu"]),
    partition("aws-iso", &["us-iso"], ["c2s.ic.gov", "api.aws.ic.gov", "c2shome.ic.gov"]),
    partition("aws-iso-b", &["us-isob"], ["sc2s.sgov.gov", "api.aws.scloud", "sc2shome.sgov.gov"]),
    partition("aws-iso-e", &["eu-isoe"], ["cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "csphome.adc-e.uk"]),
    partition("aws-iso-f", &["us-isof"], ["csp.hci.ic.gov", "api.aws.hci.ic.gov", "csphome.hci.ic.gov"]),
    partition("aws-us-gov", &["us-gov"], ["amazonaws.com", "api.aws", "amazonaws-us-gov.com"]),
];

/// Returns true if this host belongs to AWS, as the endpoints of all its services do.
pub(crate) fn is_host_of_aws(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    PARTITIONS.iter().any(|partition| is_below(partition.dns_suffix) || is_below(partition.dual_stack_dns_suffix))
}

const WORLD: &[&str] = &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"];

/// Makes a partition. Its suffixes are those of host names, of dual-stack host names, and of sign-in pages.
const fn partition(name: &'static str, prefixes: &'static [&'static str], suffixes: [&'static str; 3]) -> Partition {
    let [dns_suffix, dual_stack_dns_suffix, signin_suffix] = suffixes;
    Partition { name, prefixes, dns_suffix, dual_stack_dns_suffix, signin_suffix }
}

impl Partition {
    /// Returns the partition of a region. It is found by the form of the name or by `PARTITION-global`; otherwise it is
    /// `aws`, as in the SDKs.
    pub(crate) fn of(region: &str) -> &'static Self {
        let by_name = |partition: &&Self| region.strip_suffix("-global") == Some(partition.name);
        let by_form = |partition: &&Self| partition.prefixes.iter().any(|prefix| has_form(region, prefix));
        PARTITIONS.iter().find(by_name).or_else(|| PARTITIONS.iter().find(by_form)).unwrap_or(&PARTITIONS[0])
    }
}

/// Returns true if the region has the form `PREFIX-word-number`.
fn has_form(region: &str, prefix: &str) -> bool {
    let Some(rest) = region.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else { return false };
    let Some((word, number)) = rest.split_once('-') else { return false };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !word.is_empty()
        && word.bytes().all(is_word)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_partition_of_region() {
        for (region, partition) in [
            ("eu-west-1", "aws"),
            ("mx-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-west-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
            ("aws-global", "aws"),
            ("aws-us-gov-global", "aws-us-gov"),
            ("cn-north-x", "aws"),
            ("cn--1", "aws"),
            ("mars-1", "aws"),
            ("", "aws"),
        ] {
            assert_eq!(Partition::of(region).name, partition, "{region}");
        }
    }
}
