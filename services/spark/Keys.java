// The configuration keys that the Spark on the class path registers, one a line: key, cell of keys.tsv, note.
// keys.sh runs it; CONTRIBUTING.md, "Tables of keys".

import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Map;
import java.util.zip.ZipFile;

public class Keys {
    /** Objects whose initialisation registers keys. */
    private static final String OBJECTS =
        "org/apache/spark/(internal/config/.*|.*(Config|Conf|config/package|HiveUtils|package))\\$\\.class";

    public static void main(String[] arguments) throws Exception {
        try (var jars = Files.newDirectoryStream(Path.of(arguments[0]), "spark-*.jar")) {
            for (Path jar : jars) load(jar);
        }
        Object registry = Class.forName("org.apache.spark.internal.config.ConfigEntry$").getField("MODULE$").get(null);
        Object entries = registry.getClass().getMethod("knownConfigs").invoke(registry);
        for (Object key : ((Map<?, ?>) entries).keySet()) print(key, "+", "");
        Object core = Class.forName("org.apache.spark.SparkConf$").getField("MODULE$").get(null);
        each(read(core, "deprecatedConfigs"), value -> print(read(value, "key"), "~", read(value, "deprecationMessage")));
        Object sql = Class.forName("org.apache.spark.sql.internal.SQLConf$").getField("MODULE$").get(null);
        each(read(sql, "deprecatedSQLConfigs"), value -> print(read(value, "key"), "~", read(value, "comment")));
        each(read(sql, "removedSQLConfigs"), value -> print(read(value, "key"), "o", read(value, "comment")));
    }

    private static void load(Path jar) throws Exception {
        try (ZipFile zip = new ZipFile(jar.toFile())) {
            for (var entry : Collections.list(zip.entries())) {
                String name = entry.getName();
                try {
                    if (name.matches(OBJECTS)) Class.forName(name.replace('/', '.').replace(".class", ""));
                } catch (Throwable absent) {
                    // Of a module whose other jars are not here.
                }
            }
        }
    }

    private interface Use { void of(Object value) throws Exception; }

    private static void each(Object map, Use use) throws Exception {
        Object values = map.getClass().getMethod("valuesIterator").invoke(map);
        Class<?> iterator = Class.forName("scala.collection.Iterator");
        while ((Boolean) iterator.getMethod("hasNext").invoke(values)) {
            use.of(iterator.getMethod("next").invoke(values));
        }
    }

    private static Object read(Object owner, String name) throws Exception {
        try {
            return owner.getClass().getMethod(name).invoke(owner);
        } catch (NoSuchMethodException hidden) {
            Field field = owner.getClass().getDeclaredField(name);
            field.setAccessible(true);
            return field.get(owner);
        }
    }

    private static void print(Object key, String cell, Object note) {
        System.out.println(key + "\t" + cell + "\t" + note.toString().replaceAll("\\s+", " ").trim());
    }
}
