<?php
// Settings of this task, read from its environment and its secret files at each request.

function setting(string $name, string $default = ''): string
{
    $file = getenv($name . '_FILE');
    if ($file !== false && $file !== '') {
        return rtrim((string) file_get_contents($file), "\r\n");
    }
    $value = getenv($name);
    return $value === false || $value === '' ? $default : $value;
}

define('DB_HOST', setting('WORDPRESS_DB_HOST', 'mysql'));
define('DB_USER', setting('WORDPRESS_DB_USER', 'root'));
define('DB_PASSWORD', setting('WORDPRESS_DB_PASSWORD'));
define('DB_NAME', setting('WORDPRESS_DB_NAME', 'wordpress'));
define('DB_CHARSET', setting('WORDPRESS_DB_CHARSET', 'utf8mb4'));
define('DB_COLLATE', setting('WORDPRESS_DB_COLLATE'));
$table_prefix = setting('WORDPRESS_TABLE_PREFIX', 'wp_');

// Where none are given: the same in every replica and not stored anywhere, so that a session begun at one is valid at
// the others.
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $purpose) {
    foreach (['KEY', 'SALT'] as $kind) {
        $derived = hash_hmac('sha256', "wordpress/$purpose/$kind", DB_PASSWORD);
        define("{$purpose}_{$kind}", setting("WORDPRESS_{$purpose}_{$kind}", $derived));
    }
}

define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
$address = 'http://' . ($_SERVER['HTTP_HOST'] ?? 'localhost');
define('WP_HOME', $address);
define('WP_SITEURL', $address);
