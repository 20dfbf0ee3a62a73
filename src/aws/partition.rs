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
    Partition {
        name: "aws",
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        signin_suffix: "aws.amazon.com",
    },
    Partition {
        name: "aws-cn",
        prefixes: &["cn"],
        dns_suffix: "amazonaws.com.cn",
        dual_stack_dns_suffix: "api.amazonwebservices.com.cn",
        signin_suffix: "amazonaws.cn",
    },
    Partition {
        name: "aws-eusc",
        prefixes: &["eusc-de"],
        dns_suffix: "amazonaws.eu",
        dual_stack_dns_suffix: "api.amazonwebservices.eu",
        signin_suffix: "amazonaws-eusc.eu",
    },
    Partition {
        name: "aws-iso",
        prefixes: &["us-iso"],
        dns_suffix: "c2s.ic.gov",
        dual_stack_dns_suffix: "api.aws.ic.gov",
        signin_suffix: "c2shome.ic.gov",
    },
    Partition {
        name: "aws-iso-b",
        prefixes: &["us-isob"],
        dns_suffix: "sc2s.sgov.gov",
        dual_stack_dns_suffix: "api.aws.scloud",
        signin_suffix: "sc2shome.sgov.gov",
    },
    Partition {
        name: "aws-iso-e",
        prefixes: &["eu-isoe"],
        dns_suffix: "cloud.adc-e.uk",
        dual_stack_dns_suffix: "api.cloud-aws.adc-e.uk",
        signin_suffix: "csphome.adc-e.uk",
    },
    Partition {
        name: "aws-iso-f",
        prefixes: &["us-isof"],
        dns_suffix: "csp.hci.ic.gov",
        dual_stack_dns_suffix: "api.aws.hci.ic.gov",
        signin_suffix: "csphome.hci.ic.gov",
    },
    Partition {
        name: "aws-us-gov",
        prefixes: &["us-gov"],
        dns_suffix: "amazonaws.com",
        dual_stack_dns_suffix: "api.aws",
        signin_suffix: "amazonaws-us-gov.com",
    },
];

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
