# frozen_string_literal: true

# The AWS SDK for Ruby v3 lists buckets, or asks STS who it is, once for every line on standard input, with one
# client.
require 'aws-sdk-s3'

LONGEST_LINE = 2000

if ARGV.first == '--version'
  puts "aws-sdk-s3 #{Aws::S3::GEM_VERSION} (aws-sdk-core #{Aws::CORE_GEM_VERSION}, Ruby #{RUBY_VERSION})"
  exit
end

$stdout.sync = true

# What a program that does not rescue it would show, in one line.
def words(error)
  chain = []
  while error
    chain << "#{error.class}: #{error.message}"
    error = error.cause
  end
  chain.join(' <- ').split.join(' ')
end

s3 = sts = nil
$stdin.each_line(chomp: true) do |line|
  if line == 'sts'
    sts ||= Aws::STS::Client.new
    puts "called: #{sts.get_caller_identity.arn}"
  else
    s3 ||= Aws::S3::Client.new(force_path_style: true)
    puts "listed: #{s3.list_buckets.buckets.map(&:name).join(' ')}"
  end
rescue StandardError => e
  puts "error: #{words(e)}"[0, LONGEST_LINE]
end
