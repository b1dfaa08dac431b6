//! Extensions, comments, labels, foreign servers and logical replication.

use super::kind::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("extension")
            .identity("quote_ident(e.extname)")
            .field("version", "e.extversion")
            .field("owner", "pg_get_userbyid(e.extowner)")
            .field("schema", "e.extnamespace::regnamespace::text")
            .field("reloc", "e.extrelocatable")
            .field("config", "(SELECT array_agg(x::regclass::text) FROM unnest(e.extconfig) x)")
            .field("cond", "e.extcondition")
            .from("pg_extension e"),
        Kind::new("ext_member")
            .identity("quote_ident(e.extname)||' '||o.type||' '||o.identity")
            .field("dep", "d.deptype")
            .from("pg_depend d JOIN pg_extension e ON e.oid=d.refobjid, LATERAL pg_identify_object(d.classid,d.objid,d.objsubid) o")
            .only("d.refclassid='pg_extension'::regclass AND d.deptype IN ('e','x') AND d.objid>=16384"),
        Kind::new("comment")
            .identity("o.type||' '||o.identity")
            .body("to_jsonb(d.description)")
            .from("pg_description d, LATERAL pg_identify_object(d.classoid,d.objoid,d.objsubid) o")
            .only("(d.objoid>=16384 OR d.classoid='pg_namespace'::regclass) AND coalesce(o.schema,'') !~ '^pg_(toast|temp)' AND o.identity IS NOT NULL AND o.type<>'large object'"),
        Kind::new("seclabel")
            .identity("l.provider||' '||l.objtype||' '||l.objname")
            .body("to_jsonb(l.label)")
            .from("pg_seclabels l"),
        Kind::new("publication")
            .identity("quote_ident(p.pubname)")
            .field("owner", "pg_get_userbyid(p.pubowner)")
            .field("all", "p.puballtables")
            .field("i", "p.pubinsert")
            .field("u", "p.pubupdate")
            .field("d", "p.pubdelete")
            .field("t", "p.pubtruncate")
            .field("root", "p.pubviaroot")
            .field_since(18, "gen", "p.pubgencols")
            .from("pg_publication p"),
        Kind::new("publication_rel")
            .identity("quote_ident(p.pubname)||' '||r.prrelid::regclass::text")
            .field("r", "true")
            .field_since(15, "qual", "pg_get_expr(r.prqual,r.prrelid)")
            .field_since(15, "cols", r#"(SELECT array_agg(a.attname ORDER BY a.attname COLLATE "C") FROM unnest(r.prattrs::int2[]) x JOIN pg_attribute a ON a.attrelid=r.prrelid AND a.attnum=x)"#)
            .from("pg_publication_rel r JOIN pg_publication p ON p.oid=r.prpubid"),
        Kind::new("subscription")
            .identity("quote_ident(s.subname)")
            .field("owner", "pg_get_userbyid(s.subowner)")
            .field("enabled", "s.subenabled")
            .field("slot", "s.subslotname")
            .field_since(14, "sync", "s.subsynccommit")
            .sorted("pubs", "s.subpublications")
            .field_since(14, "bin", "s.subbinary")
            .field_since(14, "stream", "s.substream")
            .field_since(15, "twophase", "s.subtwophasestate")
            .field_since(15, "dis", "s.subdisableonerr")
            .field_since(16, "pw", "s.subpasswordrequired")
            .field_since(16, "runas", "s.subrunasowner")
            .field_since(16, "origin", "s.suborigin")
            .field_since(17, "failover", "s.subfailover")
            .from("pg_subscription s")
            .only("s.subdbid=(SELECT oid FROM pg_database WHERE datname=current_database())"),
        Kind::new("fdw")
            .identity("quote_ident(f.fdwname)")
            .field("owner", "pg_get_userbyid(f.fdwowner)")
            .field("h", "f.fdwhandler::regproc::text")
            .field("val", "f.fdwvalidator::regproc::text")
            .sorted("opts", "f.fdwoptions")
            .acl("f.fdwacl", "'F'", "f.fdwowner")
            .from("pg_foreign_data_wrapper f"),
        Kind::new("server")
            .identity("quote_ident(s.srvname)")
            .field("owner", "pg_get_userbyid(s.srvowner)")
            .field("fdw", "(SELECT fdwname FROM pg_foreign_data_wrapper WHERE oid=s.srvfdw)")
            .field("type", "s.srvtype")
            .field("ver", "s.srvversion")
            .sorted("opts", "s.srvoptions")
            .acl("s.srvacl", "'S'", "s.srvowner")
            .from("pg_foreign_server s"),
        Kind::new("user_mapping")
            .identity("quote_ident(m.srvname)||' '||quote_ident(m.usename)")
            .field("h", "md5(array_to_string((SELECT array_agg(o ORDER BY o) FROM unnest(m.umoptions) o), chr(1)))")
            .from("pg_user_mappings m"),
        Kind::new("publication_schema")
            .since(15)
            .identity("quote_ident(p.pubname)||' '||r.pnnspid::regnamespace::text")
            .body("'{}'::jsonb")
            .from("pg_publication_namespace r JOIN pg_publication p ON p.oid=r.pnpubid"),
    ]
}
