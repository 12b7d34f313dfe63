#!/bin/sh
# Runs once, on an empty volume: Nexus's role owns its database and is no superuser; only one may bring pgvector in.
set -eu
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres <<SQL
\set password \`printenv NEXUS_ROLE_PASSWORD\`
CREATE ROLE nexus LOGIN PASSWORD :'password';
CREATE DATABASE nexus OWNER nexus ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C.UTF-8';
\connect nexus
CREATE EXTENSION vector;
SQL
