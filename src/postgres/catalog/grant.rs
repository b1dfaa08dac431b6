//! Privileges on what the system owns, and default privileges.

use super::kind::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("sys_acl")
            .identity("'r '||c.oid::regclass::text")
            .key("pg_class", "c.oid")
            .field("owner", "pg_get_userbyid(c.relowner)")
            .grants("c.relacl")
            .from("pg_class c")
            .only("c.oid<16384 AND c.relacl IS NOT NULL"),
        Kind::new("sys_acl")
            .identity("'c '||a.attrelid::regclass::text||'.'||a.attname")
            .key("pg_class", "a.attrelid")
            .grants("a.attacl")
            .from("pg_attribute a")
            .only("a.attrelid<16384 AND a.attacl IS NOT NULL"),
        Kind::new("sys_acl")
            .identity("'f '||p.oid::regprocedure::text")
            .key("pg_proc", "p.oid")
            .field("owner", "pg_get_userbyid(p.proowner)")
            .grants("p.proacl")
            .from("pg_proc p")
            .only("p.oid<16384 AND (p.proacl IS NOT NULL OR p.proconfig IS NOT NULL)"),
        Kind::new("sys_acl")
            .identity("'t '||t.oid::regtype::text")
            .key("pg_type", "t.oid")
            .grants("t.typacl")
            .from("pg_type t")
            .only("t.oid<16384 AND t.typacl IS NOT NULL"),
        Kind::new("default_acl")
            .identity("pg_get_userbyid(d.defaclrole)||' '||CASE WHEN d.defaclnamespace=0 THEN '*' ELSE d.defaclnamespace::regnamespace::text END||' '||d.defaclobjtype::text")
            .grants("d.defaclacl")
            .from("pg_default_acl d"),
    ]
}
