#!/bin/bash
# Starts WordPress on port 80.  Its settings are read by /etc/wordpress/config-default.php:
# WORDPRESS_DB_HOST, WORDPRESS_DB_USER, WORDPRESS_DB_PASSWORD, WORDPRESS_DB_NAME, WORDPRESS_DB_CHARSET,
# WORDPRESS_DB_COLLATE, WORDPRESS_TABLE_PREFIX, WORDPRESS_AUTH_KEY and the seven others of its kind, as the official image
# has them; each may end in _FILE and name a file instead.
set -eu

if [ "${1:-}" != php-server ]; then
    exec "$@"
fi
if [ -n "${WORDPRESS_DB_PASSWORD:-}" ] && [ -n "${WORDPRESS_DB_PASSWORD_FILE:-}" ]; then
    echo 'error: both WORDPRESS_DB_PASSWORD and WORDPRESS_DB_PASSWORD_FILE are set (but are exclusive)' >&2
    exit 1
fi
if [ -n "${WORDPRESS_DB_PASSWORD_FILE:-}" ] && [ ! -r "$WORDPRESS_DB_PASSWORD_FILE" ]; then
    echo "error: WORDPRESS_DB_PASSWORD_FILE names a file that cannot be read: $WORDPRESS_DB_PASSWORD_FILE" >&2
    exit 1
fi

# PHP's server does not pass a signal on to its workers, and as process 1 it ignores SIGTERM; so this script
# stays, gives the server a process group of its own, and ends that.
set -m
php -d variables_order=EGPCS -d expose_php=0 -S 0.0.0.0:80 -t /usr/share/wordpress &
server=$!
trap 'kill -KILL -- -$server; exit 0' TERM INT
wait "$server"
