import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.stream.Collectors;
import software.amazon.awssdk.core.util.VersionInfo;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.Bucket;
import software.amazon.awssdk.services.sts.StsClient;

/**
 * The AWS SDK for Java v2 as a client of the broker: lists the buckets, or asks STS who it is, with one client at every line on
 * standard input.
 */
public final class Client {
    private static final int LONGEST_LINE = 2000;

    private S3Client s3;
    private StsClient sts;

    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        if (arguments.length > 0 && arguments[0].equals("--version")) {
            out.println("aws-sdk-java-v2 " + VersionInfo.SDK_VERSION + " (url-connection-client), java " + System.getProperty("java.version"));
            return;
        }
        Client client = new Client();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(client.answer(line));
        }
    }

    private String answer(String line) {
        try {
            return line.equals("sts") ? whoami() : list();
        } catch (RuntimeException error) {
            return explain(error);
        }
    }

    private String list() {
        if (s3 == null) {
            s3 = S3Client.builder().forcePathStyle(true).build();
        }
        return s3.listBuckets().buckets().stream().map(Bucket::name).collect(Collectors.joining(" ", "listed: ", ""));
    }

    private String whoami() {
        if (sts == null) {
            sts = StsClient.create();
        }
        return "called: " + sts.getCallerIdentity().arn();
    }

    /** The error and its causes, as a stack trace names them, in one line. */
    private static String explain(Throwable error) {
        StringBuilder line = new StringBuilder("error: ").append(error);
        for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
            line.append(" Caused by: ").append(cause);
        }
        String whole = line.toString().replaceAll("\\R", " ");
        return whole.substring(0, Math.min(whole.length(), LONGEST_LINE));
    }
}
