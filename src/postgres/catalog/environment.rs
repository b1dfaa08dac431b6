//! What a database shares with its cluster: reported, but not part of a schema.

use super::kind::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        // Their numbers are other ones in the upgrade.
        Kind::new("large_objects")
            .identity("'*'")
            .field("n", "count(*)")
            .field("h", r#"md5(coalesce(string_agg(pg_get_userbyid(l.lomowner)||' '||coalesce(l.lomacl::text,''), ',' ORDER BY (pg_get_userbyid(l.lomowner)||' '||coalesce(l.lomacl::text,'')) COLLATE "C"),''))"#)
            .from("pg_largeobject_metadata l"),
        Kind::new("database")
            .identity("quote_ident(d.datname)")
            .field("owner", "pg_get_userbyid(d.datdba)")
            .field("enc", "d.encoding")
            .field("coll", "d.datcollate")
            .field("ctype", "d.datctype")
            .field_between(15, 16, "loc", "d.daticulocale")
            .field_since(17, "loc", "d.datlocale")
            .field_since(15, "prov", "d.datlocprovider")
            .field("tmpl", "d.datistemplate")
            .field("conn", "d.datallowconn")
            .field("lim", "d.datconnlimit")
            .field("ts", "(SELECT spcname FROM pg_tablespace WHERE oid=d.dattablespace)")
            .acl("d.datacl", "'d'", "d.datdba")
            .field("comment", "shobj_description(d.oid,'pg_database')")
            .from("pg_database d")
            .only("d.datname=current_database()"),
        Kind::new("setting")
            .identity("CASE WHEN s.setdatabase=0 THEN '*' ELSE (SELECT datname FROM pg_database WHERE oid=s.setdatabase)::text END||' '||CASE WHEN s.setrole=0 THEN '*' ELSE pg_get_userbyid(s.setrole)::text END")
            // Those of an application may be keys: whether they change is seen, not what they are.
            .sorted("cfg", "ARRAY(SELECT CASE WHEN split_part(c,'=',1) LIKE '%.%' THEN split_part(c,'=',1)||'='||md5(c) ELSE c END FROM unnest(s.setconfig) c)")
            .from("pg_db_role_setting s")
            .only("s.setdatabase=0 OR s.setdatabase=(SELECT oid FROM pg_database WHERE datname=current_database())"),
        Kind::new("role")
            .identity("quote_ident(r.rolname)")
            .field("su", "r.rolsuper")
            .field("inh", "r.rolinherit")
            .field("cr", "r.rolcreaterole")
            .field("cdb", "r.rolcreatedb")
            .field("login", "r.rolcanlogin")
            .field("repl", "r.rolreplication")
            .field("bypass", "r.rolbypassrls")
            .field("lim", "r.rolconnlimit")
            .field("until", "r.rolvaliduntil")
            .field("comment", "shobj_description(r.oid,'pg_authid')")
            .from("pg_roles r"),
        Kind::new("role_member")
            .identity("pg_get_userbyid(m.roleid)||' < '||pg_get_userbyid(m.member)||' by '||pg_get_userbyid(m.grantor)")
            .field("admin", "m.admin_option")
            .field_since(16, "i", "m.inherit_option")
            .field_since(16, "s", "m.set_option")
            .from("pg_auth_members m"),
        Kind::new("tablespace")
            .identity("quote_ident(t.spcname)")
            .field("owner", "pg_get_userbyid(t.spcowner)")
            .sorted("opts", "t.spcoptions")
            .acl("t.spcacl", "'t'", "t.spcowner")
            .field("loc", "pg_tablespace_location(t.oid)")
            .from("pg_tablespace t"),
        Kind::new("parameter_acl")
            .since(15)
            .identity("p.parname")
            .grants("p.paracl")
            .from("pg_parameter_acl p"),
    ]
}
