# frozen_string_literal: true

# The AWS SDK for Ruby as a client of the broker: lists the buckets with one client at every line on standard input.

# Debian's packages as install.sh unpacked them below the first argument.
$LOAD_PATH.unshift(*Dir["#{ARGV[0]}/usr/share/rubygems-integration/all/gems/*/lib"], "#{ARGV[0]}/usr/lib/ruby/vendor_ruby")
require "aws-sdk-s3"

LONGEST_LINE = 2000

if ARGV[1] == "--version"
  puts "aws-sdk-core #{Aws::CORE_GEM_VERSION}, aws-sdk-s3 #{Aws::S3::GEM_VERSION}, ruby #{RUBY_VERSION}"
  exit
end

# The error and its causes, in one line.
def explain(error)
  chain = [error]
  chain << chain.last.cause while chain.last.cause
  chain.map { |one| "#{one.class}: #{one.message}" }.join(" caused by ").tr("\n", " ").byteslice(0, LONGEST_LINE).scrub("")
end

$stdout.sync = true
client = nil
$stdin.each_line do
  client ||= Aws::S3::Client.new(force_path_style: true)
  puts ["listed:", *client.list_buckets.buckets.map(&:name)].join(" ")
rescue StandardError => error
  puts "error: #{explain(error)}"
end
