#!/bin/bash
# Starts MariaDB, and on a first start makes its data directory as MySQL's official image does.
#
# MYSQL_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD_FILE   needed once, unless MYSQL_ALLOW_EMPTY_PASSWORD is set
# MYSQL_DATABASE                                    a database to create
# MYSQL_USER, MYSQL_PASSWORD or MYSQL_PASSWORD_FILE an account that owns that database
# MYSQL_ROOT_HOST                                   where root may come from, besides the socket; default %
#
# A password is only ever hashed: it reaches no command line, no file, no log, no SQL text, and not the
# environment of the server.
set -euo pipefail

readonly DATA=/var/lib/mysql
readonly UNFINISHED=$DATA/.first-start-unfinished

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date --utc +%FT%TZ)" "$*" >&2; }
fail() { printf '%s [ERROR] [Entrypoint]: %s\n' "$(date --utc +%FT%TZ)" "$*" >&2; exit 1; }

# Set variable $1 from itself or from the file that $1_FILE names, and forget the latter.
read_setting() {
    local name=$1 file_name=${1}_FILE
    local value=${!name:-} file=${!file_name:-}
    [[ -z $value || -z $file ]] || fail "both $name and $file_name are set (but are exclusive)"
    if [[ -n $file ]]; then
        [[ -r $file ]] || fail "$file_name names a file that cannot be read: $file"
        value=$(<"$file")  # Without trailing newlines, as in the official image.
    fi
    unset "$name" "$file_name"
    printf -v "$name" '%s' "$value"
}

# Print how MariaDB stores a password: '*' and SHA1(SHA1(password)) in hex.  Built-ins and pipes only.
stored_form() {
    [[ -n $1 ]] || return 0
    local once twice
    once=$(printf '%s' "$1" | sha1sum)
    twice=$(printf '%b' "$(printf '%s' "${once%% *}" | sed 's/../\\x&/g')" | sha1sum)
    twice=${twice%% *}
    printf '*%s' "${twice^^}"
}

# Quote for SQL: names between backticks, strings between apostrophes.  One statement is one line.
refuse_newline() { [[ $2 != *$'\n'* ]] || fail "$1 must not contain a newline"; }
sql_name() { printf '`%s`' "${1//\`/\`\`}"; }
sql_string() {
    local value=${1//\\/\\\\}
    printf "'%s'" "${value//\'/\'\'}"
}

first_start_statements() {
    local root_hash database owner host
    root_hash=$(stored_form "$MYSQL_ROOT_PASSWORD")
    echo "DELETE FROM mysql.global_priv WHERE User IN ('', 'root');"
    echo "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';"
    echo "FLUSH PRIVILEGES;"
    for host in localhost "${MYSQL_ROOT_HOST:-%}"; do
        echo "CREATE OR REPLACE USER 'root'@$(sql_string "$host") IDENTIFIED BY PASSWORD '$root_hash';"
        echo "GRANT ALL ON *.* TO 'root'@$(sql_string "$host") WITH GRANT OPTION;"
    done
    if [[ -n ${MYSQL_DATABASE:-} ]]; then
        database=$(sql_name "$MYSQL_DATABASE")
        echo "CREATE DATABASE IF NOT EXISTS $database;"
    fi
    if [[ -n ${MYSQL_USER:-} ]]; then
        owner="$(sql_string "$MYSQL_USER")@'%'"
        echo "CREATE USER $owner IDENTIFIED BY PASSWORD '$(stored_form "$MYSQL_PASSWORD")';"
        [[ -z ${database:-} ]] || echo "GRANT ALL ON $database.* TO $owner;"
    fi
    echo "FLUSH PRIVILEGES;"
}

check_settings() {
    [[ -n $MYSQL_ROOT_PASSWORD || -n ${MYSQL_ALLOW_EMPTY_PASSWORD:-} ]] || fail "Database is uninitialized and \
password option is not specified: set MYSQL_ROOT_PASSWORD_FILE, MYSQL_ROOT_PASSWORD or MYSQL_ALLOW_EMPTY_PASSWORD"
    [[ ${MYSQL_USER:-} != root ]] || fail "MYSQL_USER=\"root\" is the account that MYSQL_ROOT_PASSWORD is for"
    [[ -z ${MYSQL_USER:-} || -n $MYSQL_PASSWORD ]] || fail "MYSQL_USER is set, but not MYSQL_PASSWORD"
    refuse_newline MYSQL_DATABASE "${MYSQL_DATABASE:-}"
    refuse_newline MYSQL_USER "${MYSQL_USER:-}"
    refuse_newline MYSQL_ROOT_HOST "${MYSQL_ROOT_HOST:-}"
}

# A first start that was cut short is begun again; only what this script left is removed.
make_data_directory() {
    check_settings
    if [[ -e $UNFINISHED ]]; then
        note "the last first start was cut short: beginning again"
        find "$DATA" -mindepth 1 ! -path "$UNFINISHED" -delete
    fi
    note "Initializing database files"
    touch "$UNFINISHED"
    local report  # No password is known to this step, so what it says may be shown.
    report=$(mariadb-install-db --user=mysql --datadir=$DATA --force --skip-name-resolve --skip-test-db --skip-log-bin \
        --auth-root-authentication-method=normal 2>&1) || fail "the data directory cannot be made: $report"
    first_start_statements | mariadbd --bootstrap --user=mysql --datadir=$DATA --skip-log-bin
    sync -f $DATA
    rm "$UNFINISHED"
    note "Database files initialized"
}

[[ ${1:-} != -* ]] || set -- mysqld "$@"
case ${1:-} in
mysqld | mariadbd)
    read_setting MYSQL_ROOT_PASSWORD
    read_setting MYSQL_PASSWORD
    mkdir -p /run/mysqld $DATA
    chown mysql:mysql /run/mysqld
    find $DATA ! -user mysql -exec chown mysql:mysql {} +
    if [[ ! -d $DATA/mysql || -e $UNFINISHED ]]; then
        make_data_directory
    fi
    unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
    ;;
esac
exec "$@"
