import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Machine;
import software.amazon.event.ruler.MachineComplexityEvaluator;

/**
 * What AWS's own matcher makes of event patterns. Each line of the input is {"pattern": {...}, "events": [{...}, ...]}, and
 * each of the output {"score": 3, "matches": [true, ...]} or {"error": "..."}.
 */
public final class Ruler {
    /** The evaluator stops counting there. */
    private static final int MAX_SCORE = 1000;

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        StringBuilder output = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode asked = json.readTree(line);
            ObjectNode answer = json.createObjectNode();
            try {
                Machine machine = new Machine();
                machine.addRule("rule", asked.get("pattern").toString());
                answer.put("score", machine.evaluateComplexity(new MachineComplexityEvaluator(MAX_SCORE)));
                ArrayNode matches = answer.putArray("matches");
                for (JsonNode event : asked.get("events")) {
                    matches.add(!machine.rulesForJSONEvent(event.toString()).isEmpty());
                }
            } catch (Exception error) {
                answer.put("error", error.toString());
            }
            output.append(answer).append('\n');
        }
        System.out.print(output);
    }
}
