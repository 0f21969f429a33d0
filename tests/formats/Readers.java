import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.StringReader;
import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Map;
import java.util.Properties;

/**
 * Reads files as Java, SmallRye Config and airlift read them. Each line of standard input is "READER HEX": a reader's
 * name and a file's bytes. Each answer is "COUNT HEX": how many keys the file has, and the value of "key" ("-" where it
 * has none). The two libraries are used by reflection, so that this compiles without them.
 */
public class Readers {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 2);
            byte[] file = HexFormat.of().parseHex(words[1]);
            String[] answer = switch (words[0]) {
                case "properties" -> properties(file);
                case "smallrye" -> smallrye(file);
                case "airlift" -> airlift(file);
                default -> throw new IllegalArgumentException(words[0]);
            };
            String value = answer[1] == null ? "-" : HexFormat.of().formatHex(answer[1].getBytes(StandardCharsets.UTF_8));
            System.out.println(answer[0] + " " + value);
        }
    }

    private static String[] properties(byte[] file) throws Exception {
        Properties properties = new Properties();
        try (Reader reader = new StringReader(new String(file, StandardCharsets.UTF_8))) {
            properties.load(reader);
        }
        return new String[] {String.valueOf(properties.size()), properties.getProperty("key")};
    }

    private static String[] smallrye(byte[] file) throws Exception {
        Path path = Files.createTempFile("readers", ".properties");
        Files.write(path, file);
        Class<?> sourceType = Class.forName("org.eclipse.microprofile.config.spi.ConfigSource");
        Object source = Class.forName("io.smallrye.config.PropertiesConfigSource")
                .getConstructor(java.net.URL.class).newInstance(path.toUri().toURL());
        Class<?> builderType = Class.forName("io.smallrye.config.SmallRyeConfigBuilder");
        Object builder = builderType.getConstructor().newInstance();
        builderType.getMethod("addDefaultInterceptors").invoke(builder);
        Object sources = Array.newInstance(sourceType, 1);
        Array.set(sources, 0, source);
        builderType.getMethod("withSources", sources.getClass()).invoke(builder, sources);
        Object config = Class.forName("org.eclipse.microprofile.config.spi.ConfigBuilder").getMethod("build").invoke(builder);
        Object value = config.getClass().getMethod("getConfigValue", String.class).invoke(config, "key");
        int count = ((java.util.Set<?>) sourceType.getMethod("getPropertyNames").invoke(source)).size();
        Files.delete(path);
        return new String[] {String.valueOf(count), (String) value.getClass().getMethod("getValue").invoke(value)};
    }

    private static String[] airlift(byte[] file) throws Exception {
        Path path = Files.createTempFile("readers", ".properties");
        Files.write(path, file);
        Map<?, ?> loaded = (Map<?, ?>) Class.forName("io.airlift.configuration.ConfigurationLoader")
                .getMethod("loadPropertiesFrom", String.class).invoke(null, path.toString());
        Constructor<?> environment =
                Class.forName("io.airlift.configuration.secrets.env.EnvironmentVariableSecretProvider").getDeclaredConstructor();
        environment.setAccessible(true);
        Class<?> resolverType = Class.forName("io.airlift.configuration.secrets.SecretsResolver");
        Object resolver = resolverType.getConstructor(Map.class).newInstance(Map.of("env", environment.newInstance()));
        Map<?, ?> resolved = (Map<?, ?>) resolverType.getMethod("getResolvedConfiguration", Map.class).invoke(resolver, loaded);
        Files.delete(path);
        return new String[] {String.valueOf(resolved.size()), (String) resolved.get("key")};
    }
}
