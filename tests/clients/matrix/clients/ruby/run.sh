#!/usr/bin/env bash
# run.sh CACHE [--version]: runs the program with the gems of the cache, and Ruby's own rexml.
set -u
path=$1/usr/lib/ruby/vendor_ruby
for gem in "$1"/usr/share/rubygems-integration/all/gems/*/lib; do
  path=$path:$gem
done
exec ruby -I "$path" "$(dirname "$0")/client.rb" "${@:2}"
