#!/bin/sh
# Runs once, on an empty volume: a role and a database of its own for Dagster and for MLflow.
# Passwords come from the environment and reach psql as variables that it quotes; they are never part of its arguments.
set -eu
for name in dagster mlflow; do
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=name="$name" --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv dagster DAGSTER_PASSWORD
\getenv mlflow MLFLOW_PASSWORD
SELECT :'name' = 'dagster' AS is_dagster \gset
\if :is_dagster
  CREATE ROLE :"name" LOGIN PASSWORD :'dagster';
\else
  CREATE ROLE :"name" LOGIN PASSWORD :'mlflow';
\endif
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
