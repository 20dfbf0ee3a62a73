# frozen_string_literal: true

# The AWS SDK for Ruby v3 lists buckets, once for every line on standard input, with one client.
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

client = nil
$stdin.each_line do
  client ||= Aws::S3::Client.new(force_path_style: true)
  puts "listed: #{client.list_buckets.buckets.map(&:name).join(' ')}"
rescue StandardError => e
  puts "error: #{words(e)}"[0, LONGEST_LINE]
end
